"""The map of the course, read from the lessons themselves, so that it shows what exists and nothing else.

A lesson's facts stand in its notebook metadata under `deskbook`: minutes, part, goals, needs, topics,
patterns and exercises. Its title is its first heading.
"""

from __future__ import annotations

import dataclasses
import html
import itertools
import json
from pathlib import Path

from deskbook.checkout import root


@dataclasses.dataclass(frozen=True)
class Lesson:
    """One notebook of the course.

    Attributes:
        name: File name without ending, for example `11_keep_the_event_loop_free`.
        title: Its first heading.
        part: Part of the course, for example `1 Async`.
        minutes: Honest reading time in minutes.
        topics: What it owes to the curriculum.
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


def lessons(folder: Path | None = None) -> list[Lesson]:
    """Return the lessons that exist, in the order of the course.

    Args:
        folder: Where the notebooks are; by default `notebooks/` of the checkout.
    """
    folder = folder or root() / "notebooks"
    return [read_lesson(path) for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))]


class CourseMap:
    """The lessons as a table: HTML with links in a notebook, text elsewhere."""

    def __init__(self, entries: list[Lesson]) -> None:
        self._parts = [(part, list(group)) for part, group in itertools.groupby(entries, lambda it: it.part)]

    def __repr__(self) -> str:
        """One line a lesson, below the name of its part."""
        lines = []
        for part, group in self._parts:
            lines += [part, *(f"  {lesson.name}  {lesson.minutes} min  {lesson.title}" for lesson in group)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = []
        for part, group in self._parts:
            rows.append(f'<tr><th colspan="3" style="text-align:left">{html.escape(part)}</th></tr>')
            rows += [self._row(lesson) for lesson in group]
        names = "".join(f'<th style="text-align:left">{it}</th>' for it in ("Lesson", "Minutes", "About"))
        head = f"<tr>{names}</tr>"
        return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"

    @staticmethod
    def _row(lesson: Lesson) -> str:
        cells = (
            f'<a href="{lesson.name}.ipynb">{html.escape(lesson.title)}</a>',
            str(lesson.minutes),
            html.escape(", ".join(lesson.topics)),
        )
        return "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>"


def course_map() -> CourseMap:
    """Return the map of the lessons that are there; parts that are not written yet are not shown."""
    return CourseMap(lessons())


def curriculum_markdown(entries: list[Lesson]) -> str:
    """Return the text of `notebooks/README.md`: every lesson with its topics, patterns and exercises."""
    lines = [
        "# The lessons",
        "",
        "Written from the lessons' metadata by `python -m deskbook.course`; a test compares the two.",
        "Open them with `make lab`.",
    ]
    for part, group in itertools.groupby(entries, lambda it: it.part):
        lines += ["", f"## {part}", "", "| lesson | minutes | topics | patterns | exercises |"]
        lines += ["|---|---|---|---|---|", *(_markdown_row(lesson) for lesson in group)]
    return "\n".join(lines) + "\n"


def _markdown_row(lesson: Lesson) -> str:
    patterns = [f"[{name}](../reference_app/patterns/{name}.py)" for name in lesson.patterns]
    exercises = [f"[{name}](../exercises/{name}/exercise.ipynb)" for name in lesson.exercises]
    columns = [
        f"[{lesson.title}]({lesson.name}.ipynb)",
        str(lesson.minutes),
        "; ".join(lesson.topics),
        ", ".join(patterns),
        ", ".join(exercises),
    ]
    return f"| {' | '.join(columns)} |"


if __name__ == "__main__":
    from deskbook.patterns.index import NAME, write_index  # which reads the lessons from here

    (root() / "notebooks" / "README.md").write_text(curriculum_markdown(lessons()), encoding="utf-8")
    write_index(root() / "notebooks" / f"{NAME}.ipynb")
