"""The processes of the desk besides its web workers: name -> module, to be run with `python -m`.

`python -m reference_app --help` names them, and `make serve` and the tests start them.
"""

from __future__ import annotations

#: Each may run several times; its module says how they share the work.
PROCESSES = {
    "matcher": "reference_app.orders.matcher",
    "relay": "reference_app.orders.outbox_relay",
    "operations": "reference_app.operations",
}
