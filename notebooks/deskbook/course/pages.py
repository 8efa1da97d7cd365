"""The map of the course: as a table in the start page, and as `notebooks/README.md`.

Both show the lessons that exist and nothing else.
"""

from __future__ import annotations

import html
import itertools

from deskbook.course.lessons import Lesson, read_lessons


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
    return CourseMap(read_lessons())


def curriculum_markdown(entries: list[Lesson]) -> str:
    """Return the text of `notebooks/README.md`: every lesson with its topics, patterns and exercises."""
    lines = [
        "# The lessons",
        "",
        "Written from the lessons' metadata by `deskbook course write`; a test compares the two.",
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
