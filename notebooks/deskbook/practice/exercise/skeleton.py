"""The start of a new exercise: a small one that works, which its author replaces piece by piece.

`deskbook exercise verify` accepts it as it is, so that from the first minute on each change can be checked:
the stub fails for its stated reason, the right answers pass, and each wrong one is rejected by the check that
it names.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from deskbook.practice.errors import PracticeError

_TASK = "\n\n".join(
    (
        "# Say what is missing",
        "`GET /value` adds up a portfolio. A symbol for which the desk has no price counts as nothing, and "
        "nobody who reads the total can see that it is too low.",
        "**Your task:** the reply has in `value` what the holdings with a price are worth, as exact text, "
        "and in `missing` the symbols without a price, in the order of the portfolio.",
        "**Minutes:** 10",
    )
)

_HOW = "Change the cell and run it with Shift+Enter. `%hint` helps, step by step."

#: What is the same in every answer: the checks change the prices and the holdings.
_FRAME = """\
from decimal import Decimal

from fastapi import FastAPI

app = FastAPI()
PRICES = {"IBM": Decimal("202.91"), "MSFT": Decimal("48.30")}
HOLDINGS = {"IBM": 10, "ACME": 5}


@app.get("/value")
async def read_value() -> dict[str, object]:
"""

_STUB = """\
    # --- your code ---
    value = sum(PRICES.get(symbol, 0) * shares for symbol, shares in HOLDINGS.items())
    return {"value": str(value)}
    # --- end ---
"""

_SOLUTION = """\
    missing = [symbol for symbol in HOLDINGS if symbol not in PRICES]
    value = sum(PRICES[symbol] * shares for symbol, shares in HOLDINGS.items() if symbol in PRICES)
    return {"value": str(value), "missing": missing}
"""

_WHY = '''\
"""A partial answer is worth having as long as it says that it is one.

The value is that of the holdings with a price, and `missing` names the others. So whoever reads the reply
decides whether the total is good enough. A portfolio without any price says 0, and names every symbol.
"""

'''

_ALSO_RIGHT = {
    "one_loop.py": """\
    value, missing = Decimal(0), []
    for symbol, shares in HOLDINGS.items():
        if symbol in PRICES:
            value += PRICES[symbol] * shares
        else:
            missing.append(symbol)
    return {"value": f"{value:.2f}", "missing": missing}
""",
    "the_priced_first.py": """\
    priced = {symbol: PRICES[symbol] for symbol in HOLDINGS if symbol in PRICES}
    value = sum(price * HOLDINGS[symbol] for symbol, price in priced.items())
    return {"missing": [it for it in HOLDINGS if it not in priced], "value": str(value)}
""",
}

_WRONG = {
    "money_is_a_float.py": (
        "test_the_value_is_exact: a float has no last zero, and not every cent",
        """\
    missing = [symbol for symbol in HOLDINGS if symbol not in PRICES]
    value = sum(float(PRICES.get(symbol, 0)) * shares for symbol, shares in HOLDINGS.items())
    return {"value": str(value), "missing": missing}
""",
    ),
    "only_the_first_is_named.py": (
        "test_what_is_missing_is_named: it stops at the first symbol without a price",
        """\
    missing = next((symbol for symbol in HOLDINGS if symbol not in PRICES), None)
    value = sum(PRICES.get(symbol, 0) * shares for symbol, shares in HOLDINGS.items())
    return {"value": str(value), "missing": [missing] if missing else []}
""",
    ),
    "the_order_is_lost.py": (
        "test_what_is_missing_is_named: it sorts the symbols",
        """\
    value = sum(PRICES.get(symbol, 0) * shares for symbol, shares in HOLDINGS.items())
    return {"value": str(value), "missing": sorted(HOLDINGS.keys() - PRICES.keys())}
""",
    ),
}

_CHECKS = '''\
from decimal import Decimal

#: Holdings, prices, and what the reply must say: two of each, so that no constant passes.
CASES = [
    ({"IBM": 10, "ZZZ": 1, "ACME": 5}, {"IBM": "202.91"}, "2029.10", ["ZZZ", "ACME"]),
    ({"MSFT": 3, "IBM": 1}, {"IBM": "200.00", "MSFT": "48.30"}, "344.90", []),
]


async def reply_for(answer, http, evidence, holdings, prices):
    answer.HOLDINGS = holdings
    answer.PRICES = {symbol: Decimal(price) for symbol, price in prices.items()}
    evidence.given(f"a portfolio of {holdings}, and the prices {prices}")
    reply = await http(answer.app).get("/value")
    evidence.got(reply)
    assert reply.status_code == 200, "The status is not 200."
    return reply.json()


async def test_the_value_is_exact(answer, http, evidence):
    """The value is what the holdings with a price are worth, to the cent."""
    for holdings, prices, value, _ in CASES:
        reply = await reply_for(answer, http, evidence, holdings, prices)
        evidence.expected(f"a value of {value}")
        assert reply.get("value") == value, "This is another value."


async def test_what_is_missing_is_named(answer, http, evidence):
    """Each symbol without a price is named in `missing`, in the order of the portfolio."""
    for holdings, prices, _, missing in CASES:
        reply = await reply_for(answer, http, evidence, holdings, prices)
        evidence.expected(f"missing: {missing}")
        assert reply.get("missing") == missing, "Not the symbols without a price."
'''

_HINTS = """\
minutes = 10
stub_fails = "test_what_is_missing_is_named"
next = "Take the prices away, call `await read_value()`, and read what a portfolio without prices says."

[hints]
test_the_value_is_exact = [
  "Which type holds 2029.10 exactly?",
  "The prices are Decimal. Something turns them into another type, or counts what has no price.",
  "Add up Decimal times shares for the symbols that have a price, and make text of the sum with str().",
]
test_what_is_missing_is_named = [
  "What does the reader of the reply know about ACME?",
  "The total is too low, and the reply does not say so.",
  "Collect the symbols that PRICES does not have, in the order of HOLDINGS, and return them as `missing`.",
]
"""


def write_skeleton(exercises: Path, name: str) -> Path:
    """Write the folder of a new exercise and return it.

    Args:
        exercises: Folder of all exercises.
        name: Number of the lesson and a name, such as `42_keyed_lock`.

    Raises:
        PracticeError: The name has another form, or is taken.
    """
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", name):
        raise PracticeError(f"An exercise is named like 42_keyed_lock: its lesson, then words; got {name!r}.")
    folder = exercises / name
    if folder.exists():
        raise PracticeError(f"There is an exercise {name} already.")
    files = {
        "exercise.ipynb": json.dumps(_page(name), indent=1) + "\n",
        "checks.py": _CHECKS,
        "solution.py": _WHY + _FRAME + _SOLUTION,
        "hints.toml": _HINTS,
    }
    files |= {f"also_right/{file}": _FRAME + body for file, body in _ALSO_RIGHT.items()}
    files |= {f"wrong/{file}": f"# rejected by {why}\n{_FRAME}{body}" for file, (why, body) in _WRONG.items()}
    for file, text in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def _page(name: str) -> dict[str, Any]:
    """Return the page that the learner opens, not run yet."""
    stub = f"%%exercise {name}\n{_FRAME}{_STUB}".rstrip("\n")
    texts = [("markdown", _TASK), ("code", "%load_ext deskbook"), ("markdown", _HOW), ("code", stub)]
    cells: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(texts, start=1):
        own = {"cell_type": kind, "id": f"exercise-{number:02}", "metadata": {}, "source": text}
        cells.append(own | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
