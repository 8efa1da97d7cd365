"""The course map, the agenda and the exercises are built from metadata, so it has one shape.

Notebook metadata, key `deskbook`:

    minutes    whole minutes that a learner needs, exercises included
    part       the part of the course, such as "1 Async"
    goals      three strings: what the learner can do afterwards, each starts with a verb
    needs      what must run: "postgres", "valkey", "chromium"
    topics     index words
    patterns   names of files in reference_app/patterns, without .py
    exercises  names of folders in exercises

Cell metadata, key `deskbook`, all optional:

    minutes    minutes for the section that starts here
    note       speaker note: {"ask": ..., "demo": ..., "expect": ..., "if_it_breaks": ...}
    allow      rules that this cell may break: {rule: reason}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deskbook.authoring.document import Document
from deskbook.authoring.rules.registry import Problem, rule

LIST_KEYS = ("needs", "topics", "patterns", "exercises")
NOTE_KEYS = {"ask", "demo", "expect", "if_it_breaks"}
CELL_KEYS = {"minutes", "note", "allow"}
SERVICES = {"postgres", "valkey", "chromium"}


@rule(
    "lesson-metadata",
    reason="The map of the course, the agenda and the search are built from the metadata of the lessons.",
    fix="Fill `deskbook` in the notebook metadata; the shape stands in `deskbook.authoring.rules.metadata`.",
)
def lesson_metadata(document: Document) -> Iterator[Problem]:
    """Report missing or misshapen metadata of the notebook."""
    own = document.deskbook
    if document.is_exercise:
        return  # its facts stand in hints.toml
    if own is None:
        yield None, "the notebook has no metadata `deskbook`"
        return
    if not _is_minutes(own.get("minutes")) or own["minutes"] > 120:
        yield None, f"`minutes` is {own.get('minutes')!r}, expected a whole number from 1 to 120"
    if not _is_text(own.get("part")):
        yield None, f"`part` is {own.get('part')!r}, expected a text such as '1 Async'"
    goals = own.get("goals")
    if len(_texts(goals)) != 3:
        yield None, "`goals` must be three texts"
    for key in LIST_KEYS:
        if not _is_texts(own.get(key)):
            yield None, f"`{key}` is {own.get(key)!r}, expected a list of texts"
    if unknown := sorted(set(own) - {"minutes", "part", "goals", *LIST_KEYS}):
        yield None, f"unknown keys: {', '.join(unknown)}"


@rule(
    "metadata-target",
    reason="A lesson that names a pattern or an exercise promises that it is there.",
    fix="Correct the name, or leave it out until the file exists.",
)
def metadata_target(document: Document) -> Iterator[Problem]:
    """Report patterns, exercises and services that do not exist."""
    own = document.deskbook or {}
    root = document.path.resolve().parent.parent
    for name in _texts(own.get("patterns")):
        if not (root / "reference_app" / "patterns" / f"{name}.py").is_file():
            yield None, f"there is no pattern {name!r} in reference_app/patterns"
    for name in _texts(own.get("exercises")):
        if not (root / "exercises" / name).is_dir():
            yield None, f"there is no exercise {name!r} in exercises"
    for name in _texts(own.get("needs")):
        if name not in SERVICES:
            yield None, f"needs {name!r}, expected one of {', '.join(sorted(SERVICES))}"


@rule(
    "cell-metadata",
    reason="Speaker notes and the agenda are read by a program; a key with a typo is lost without a word.",
    fix="Use `minutes` and `note` with ask, demo, expect and if_it_breaks, each a text.",
)
def cell_metadata(document: Document) -> Iterator[Problem]:
    """Report misshapen metadata of cells."""
    for cell in document.cells:
        raw = cell.metadata.get("deskbook", {})
        if not isinstance(raw, dict):
            yield cell, "`deskbook` must be a table"
            continue
        if unknown := sorted(set(raw) - CELL_KEYS):
            yield cell, f"unknown keys: {', '.join(unknown)}"
        if "minutes" in raw and not _is_minutes(raw["minutes"]):
            yield cell, f"`minutes` is {raw['minutes']!r}, expected a whole number"
        if "note" in raw and not _is_note(raw["note"]):
            yield cell, f"`note` needs the texts {', '.join(sorted(NOTE_KEYS))}"


@rule(
    "minutes-add-up",
    reason="The agenda is built from the minutes of the cells, the map from those of the lesson.",
    fix="Make the minutes of the cells add up to `minutes` of the notebook.",
)
def minutes_add_up(document: Document) -> Iterator[Problem]:
    """Report a lesson whose sections take another time than the lesson."""
    stated = [
        cell.deskbook["minutes"] for cell in document.cells if _is_minutes(cell.deskbook.get("minutes"))
    ]
    total = (document.deskbook or {}).get("minutes")
    if stated and sum(stated) != total:
        yield None, f"the cells take {sum(stated)} minutes, the notebook says {total}"


def _is_minutes(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(item) for item in value)


def _texts(value: Any) -> list[str]:
    return value if _is_texts(value) else []


def _is_note(value: Any) -> bool:
    return (
        isinstance(value, dict) and set(value) == NOTE_KEYS and all(_is_text(text) for text in value.values())
    )
