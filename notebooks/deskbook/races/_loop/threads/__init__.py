"""Sync `def` endpoints and dependencies: real threads, one line at a time.

FastAPI runs them in worker threads, so they race with each other between any two lines, without an `await` in
sight. Here each of them gets a real thread too, but the thread hands control back before every line of user
code (`sys.settrace`), and the loop treats "run the next line" as a step like any other. Exactly one thread
runs at any moment. A line that loads what it then stores (`account.balance -= 60`) is split before the store.

`threading.Lock` and its kin, made while exploring, wait by handing control back; a lock that was made before
is recognised in `with lock:` and `lock.acquire()` lines of user code. The tracer never looks into the
standard library: a first version traced the lines of the lock itself and raised false alarms. Source: shuttle
and loom replace the thread primitives the same way; `sys.settrace` is the Python door to it.

Where to read: `call` (one function in its thread), `lines` (which lines matter), `driver` (a call as steps of
the loop), `locks`, `replacements` (what is replaced while exploring).
"""

from __future__ import annotations

from deskbook.races._loop.threads.call import ControlledCall, in_controlled_thread, sleep_controlled
from deskbook.races._loop.threads.driver import run_controlled
from deskbook.races._loop.threads.replacements import ControlledThreads

__all__ = [
    "ControlledCall",
    "ControlledThreads",
    "in_controlled_thread",
    "run_controlled",
    "sleep_controlled",
]
