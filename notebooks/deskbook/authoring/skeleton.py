"""The start of a new lesson: a page with the whole grammar, which its author replaces piece by piece.

It runs and the linter accepts it, so that from the first minute on each change can be checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deskbook.authoring.document import Document
from deskbook.authoring.reading_time import Reading, exercise_minutes

_GOALS = ("say what goes wrong", "mend it with the pattern", "prove that it is mended")

_BULLETS = "\n".join(f"- {goal}" for goal in _GOALS)

_OPENING = f"""\
# {{title}}

One sentence of promise.

**You will**

{_BULLETS}

**You need** Python and `async`/`await`. **Minutes:** {{minutes}} minutes, exercises included.

**In a hurry:** what to copy, in one command."""

_BREAK = """\
## Break it: what good people write

A realistic slice of the desk, written the way people write it. What do you expect it to show?"""

_BREAK_CODE = """\
prices = {"IBM": 202.91, "MSFT": 48.3}
holdings = {"IBM": 10, "MSFT": 5, "ACME": 1}
value = sum(prices.get(symbol, 0) * shares for symbol, shares in holdings.items())
print(f"{len(holdings)} holdings, worth {value}")"""

_WHY = """\
## See why

Lead to the picture with a question. How many of the holdings have a price?"""

_WHY_CODE = """\
from deskbook.pictures import bars

missing = sorted(holdings.keys() - prices.keys())
assert missing == ["ACME"]
counts = {"holdings": len(holdings), "prices": len(prices)}
bars(counts, "One holding has no price.", x_label="how many")"""

_FIX = """\
## Fix it

The pattern, shown from the file where it lives (`show_source`), in the lines that are talked about."""

_FIX_CODE = """\
answer = {"complete": not missing, "missing": missing}
answer"""

_PROVE = """\
## Prove it

All interleavings, an invariant, or a ratio measured in this run. Will the answer say what is missing?"""

_PROVE_CODE = 'assert set(answer["missing"]) | prices.keys() == holdings.keys()'

_LIMITS = """\
## Limits and trade-offs

What the fix costs, and where it stops working.

| | MVP | growth | enterprise |
|---|---|---|---|
| what to do | | | |"""

_RECAP = f"""\
## Recap

{_BULLETS}

## Further

Primary sources only."""

_NOTES = {
    "Break it": ("What do you expect?", "Run the cell.", "Most say that it is right.", "Restart the kernel."),
    "See why": ("What is missing?", "Change a number.", "The picture follows.", "Run from the top."),
    "Fix it": ("What should it say?", "Open the pattern's file.", "A shorter list.", "Run from the top."),
}


def lesson_skeleton(path: Path, title: str | None = None, exercises: Sequence[str] = ()) -> dict[str, Any]:
    """Return a new lesson, not executed yet.

    Args:
        path: The file that it becomes; the first digit of its name is the part of the course.
        title: Its title, a verb first; by default the words of its name.
        exercises: Names of the exercises that it leads to; by default those with the number of the lesson.
    """
    number, _, words = path.stem.partition("_")
    exercises = list(exercises) or _exercises_of(path, number)
    title = title or words.replace("_", " ").capitalize()
    cells = [
        _markdown(_OPENING.replace("{title}", title)),
        _code("%load_ext deskbook"),
        _markdown(_BREAK, "Break it"),
        _code(_BREAK_CODE),
        _markdown(_WHY, "See why"),
        _code(_WHY_CODE),
        _markdown(_FIX, "Fix it"),
        _code(_FIX_CODE),
        _markdown(_PROVE),
        _code(_PROVE_CODE),
        _markdown(_LIMITS),
        _markdown(f"## Your turn\n\n{_links(path, exercises)}"),
        _markdown(_RECAP),
    ]
    for position, cell in enumerate(cells, start=1):
        cell["id"] = f"lesson-{number}-{position:02}"
    own = {
        "minutes": 1,
        "part": _part(path),
        "goals": list(_GOALS),
        "needs": [],
        "topics": [],
        "patterns": [],
        "exercises": exercises,
    }
    notebook = {"cells": cells, "metadata": {"deskbook": own}, "nbformat": 4, "nbformat_minor": 5}
    _state_minutes(path, notebook)
    return notebook


def _state_minutes(path: Path, notebook: dict[str, Any]) -> None:
    """Write the computed minutes into the metadata and the opening."""
    document = Document.from_notebook(path, notebook)
    minutes = math.ceil(Reading.of_cells(document.cells, exercise_minutes(document)).minutes)
    notebook["metadata"]["deskbook"]["minutes"] = minutes
    opening = notebook["cells"][0]
    opening["source"] = opening["source"].replace("{minutes}", str(minutes))


def _exercises_of(path: Path, number: str) -> list[str]:
    """Return the exercises whose name begins with the number of the lesson."""
    folder = path.resolve().parent.parent / "exercises"
    return sorted(page.parent.name for page in folder.glob(f"{number}_*/exercise.ipynb"))


def _links(path: Path, exercises: Sequence[str]) -> str:
    links = [f"[{name}](../exercises/{name}/exercise.ipynb)" for name in exercises]
    if links:
        return f"What the exercise asks for, in one sentence: {', '.join(links)}."
    if (path.resolve().parent.parent / "exercises" / "README.md").is_file():
        return "This lesson has no exercise yet. [How exercises work](../exercises/README.md)."
    return "This lesson has no exercise yet."


def _part(path: Path) -> str:
    """Return the part of the course as another lesson of the same part names it, or its number."""
    digit = path.stem[:1]
    for other in sorted(path.resolve().parent.glob(f"{digit}[0-9]_*.ipynb")):
        own = json.loads(other.read_text(encoding="utf-8")).get("metadata", {}).get("deskbook", {})
        if other != path and isinstance(own.get("part"), str):
            return str(own["part"])
    return digit


def _markdown(source: str, section: str = "") -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if section in _NOTES:
        keys = ("ask", "demo", "expect", "if_it_breaks")
        metadata["deskbook"] = {"note": dict(zip(keys, _NOTES[section], strict=True))}
    return {"cell_type": "markdown", "metadata": metadata, "source": source}


def _code(source: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "execution_count": None, "outputs": []}
