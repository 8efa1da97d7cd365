"""The skeleton of a new exercise: everything is there, and verification lists what is to be done."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from deskbook.practice.errors import PracticeError

_TASK = """\
# TO DO: a title with a verb

TO DO: what goes wrong.

**Your task:** TO DO: what must be true afterwards.

**Minutes:** 10"""

_STUB = """\
%%exercise {name}
# TO DO: what is given stays outside of the two marks
def answer():
    # --- your code ---
    return None
    # --- end ---"""

_CHECKS = '''\
def test_something_holds(answer, evidence):
    """TO DO: one sentence that says what must be true."""
    evidence.given("TO DO: what the answer is given")
    evidence.got(answer.answer())
    assert answer.answer() is not None, "TO DO: what was seen instead."
'''

_SOLUTION = '''\
"""TO DO: two or three sentences that say why this works, and where it stops working."""

# TO DO: what is given stays outside of the two marks
def answer():
    return 1
'''

_HINTS = """\
minutes = 10
stub_fails = "test_something_holds"
next = "TO DO: what to do after a pass."

[hints]
test_something_holds = [
  "TO DO: a question that points at the place.",
  "TO DO: what is wrong there.",
  "TO DO: what to write, in words.",
]
"""

_WRONG = """\
# rejected by test_something_holds: TO DO: a mistake that a learner will make
# TO DO: what is given stays outside of the two marks
def answer():
    return None
"""


def write_skeleton(exercises: Path, name: str) -> Path:
    """Write the folder of a new exercise.

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
    for inner in ("also_right", "wrong"):
        (folder / inner).mkdir(parents=True)
    files = {
        "exercise.ipynb": json.dumps(_page(name), indent=1) + "\n",
        "checks.py": _CHECKS,
        "solution.py": _SOLUTION,
        "hints.toml": _HINTS,
        "wrong/a_mistake.py": _WRONG,
    }
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def _page(name: str) -> dict[str, Any]:
    texts = [
        ("markdown", _TASK),
        ("code", "%load_ext deskbook"),
        ("markdown", "Change the cell and run it with Shift+Enter. `%hint` helps, step by step."),
        ("code", _STUB.format(name=name)),
    ]
    cells = []
    for number, (kind, text) in enumerate(texts, start=1):
        cell: dict[str, Any] = {
            "cell_type": kind,
            "id": f"exercise-{number:02}",
            "metadata": {},
            "source": text,
        }
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        cells.append(cell)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
