"""The start of a new lesson: its grammar with a prompt at each place."""

from __future__ import annotations

from typing import Any

from deskbook.authoring.rules.grammar import SECTIONS

_OPENING = """\
# Title with a verb

One sentence of promise.

**You will**

- first goal
- second goal
- third goal

**You need** 40 minutes.

**In a hurry:** what to copy, in one command."""

_PROMPTS = {
    "Break it": "A realistic slice of the desk, written the way people write it. What do you expect to see?",
    "See why": "The picture, and how to read it.",
    "Fix it": "The pattern, shown from the file where it lives.",
    "Prove it": "All interleavings, an invariant, or a ratio measured in this run.",
    "Limits and trade-offs": "| MVP | growth | enterprise |\n|---|---|---|\n| | | |",
    "Your turn": "The exercise.",
    "Recap": "- first goal\n- second goal\n- third goal",
    "Further": "Primary sources only.",
}


def lesson_skeleton(name: str) -> dict[str, Any]:
    """Return the cells of a new lesson.

    Args:
        name: File name without `.ipynb`; its first digit is the part of the course.
    """
    cells = [_cell("markdown", _OPENING), _cell("code", "%load_ext deskbook")]
    cells += [_cell("markdown", f"## {section}\n\n{_PROMPTS[section]}") for section in SECTIONS]
    metadata = {
        "minutes": 40,
        "part": name[:1],
        "goals": ["first goal", "second goal", "third goal"],
        "needs": [],
        "topics": [],
        "patterns": [],
        "exercises": [],
    }
    return {"cells": cells, "metadata": {"deskbook": metadata}, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
