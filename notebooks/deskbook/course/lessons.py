"""The lessons that exist and their facts, read from the notebooks themselves.

A lesson's facts stand in its notebook metadata under `deskbook`: minutes, part, goals, needs, topics,
patterns and exercises. Its title is its first heading.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from deskbook.checkout import root


@dataclasses.dataclass(frozen=True)
class Lesson:
    """One notebook of the course.

    Attributes:
        name: File name without ending, for example `11_keep_the_event_loop_free`.
        title: Text of its first heading.
        part: Part of the course, for example `1 Async`.
        minutes: Honest reading time in minutes.
        topics: What it is about, as words of an index.
        patterns: Names of the pattern files it shows.
        exercises: Names of the exercises it leads to.
    """

    name: str
    title: str
    part: str
    minutes: int
    topics: tuple[str, ...]
    patterns: tuple[str, ...]
    exercises: tuple[str, ...]


def read_lesson(path: Path) -> Lesson:
    """Read one notebook's facts.

    Raises:
        KeyError: The notebook has no `deskbook` metadata; `deskbook notebook lint` says what is missing.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    facts = notebook["metadata"]["deskbook"]
    markdown = (line for cell in notebook["cells"] for line in "".join(cell["source"]).splitlines())
    title = next(line.removeprefix("# ") for line in markdown if line.startswith("# "))
    lists = {key: tuple(facts.get(key, ())) for key in ("topics", "patterns", "exercises")}
    return Lesson(path.stem, title, facts["part"], int(facts["minutes"]), **lists)


def read_lessons(folder: Path | None = None) -> list[Lesson]:
    """Return the lessons that exist, in the order of the course.

    Args:
        folder: Where the notebooks are; by default `notebooks/` of the checkout.
    """
    folder = folder or root() / "notebooks"
    return [read_lesson(path) for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))]
