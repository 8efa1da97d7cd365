"""Markers tell nbval what not to compare; a wrong one silently switches a check off."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deskbook.authoring.document import Cell, Document
from deskbook.authoring.markers import COMMENT_MARKERS, TAGS, ignore_reason
from deskbook.authoring.rules.registry import Problem, rule

_LOOKS_LIKE_MARKER = re.compile(r"NBVAL|PYTEST_VALIDATE", re.IGNORECASE)


@rule(
    "unknown-marker",
    reason="nbval reads a marker only when it is alone on a comment line; anything else is ignored silently.",
    fix="Write the marker alone on its line, such as `# NBVAL_IGNORE_OUTPUT`, and the reason on the next.",
)
def unknown_marker(document: Document) -> Iterator[Problem]:
    """Report lines and tags that look like a marker but are none."""
    for cell in document.code_cells:
        for line in cell.source.splitlines():
            if _LOOKS_LIKE_MARKER.search(line) and not _is_marker(line):
                yield cell, f"nbval does not recognise {line.strip()!r}"
        for tag in cell.tags:
            if tag.lower().replace("_", "-").startswith(("nbval", "raises")) and tag not in TAGS:
                yield cell, f"nbval does not recognise the tag {tag!r}"


def _is_marker(line: str) -> bool:
    return line.strip().startswith("#") and line.strip().lstrip("#").strip() in COMMENT_MARKERS


@rule(
    "marker-in-markdown",
    reason="A marker in a markdown cell switches nothing, but looks as if it did.",
    fix="Move the marker into the code cell, or write it as `code` if the text speaks about it.",
)
def marker_in_markdown(document: Document) -> Iterator[Problem]:
    """Report marker lines in markdown."""
    for cell in document.markdown_cells:
        if any(_is_marker(line) for line in cell.source.splitlines()):
            yield cell, "a marker stands in a markdown cell"


@rule(
    "ignore-without-reason",
    reason="An output that is not compared is a promise that nobody keeps; the reader must know why.",
    fix="Add the line `# reason: ...` after the marker, or make the output the same in every run.",
)
def ignore_without_reason(document: Document) -> Iterator[Problem]:
    """Report ignored outputs without a reason line."""
    for cell in document.code_cells:
        if not cell.nbval["check"] and ignore_reason(cell.source) is None:
            yield cell, "the output is not compared and no reason is given"


@rule(
    "ignore-without-output",
    reason="A marker on a cell that prints nothing hides the day on which it starts to print.",
    fix="Remove the ignore marker.",
)
def ignore_without_output(document: Document) -> Iterator[Problem]:
    """Report ignore markers on cells without output."""
    for cell in document.code_cells:
        if not cell.nbval["check"] and not cell.outputs:
            yield cell, "the cell has no output to ignore"


@rule(
    "skip-marker",
    reason="A skipped cell is never executed, so nothing it shows is proven.",
    fix="Remove NBVAL_SKIP. What cannot run everywhere does not belong into a lesson.",
)
def skip_marker(document: Document) -> Iterator[Problem]:
    """Report cells that nbval would skip."""
    for cell in document.code_cells:
        if cell.nbval["skip"] or "skip-execution" in cell.tags:
            yield cell, "the cell is skipped"


@rule(
    "raises-without-error",
    reason="A marker says that the cell may raise; without a stored error nothing demands that it does.",
    fix="Run `deskbook notebook run NOTEBOOK`; if the cell no longer raises, remove the marker.",
)
def raises_without_error(document: Document) -> Iterator[Problem]:
    """Report cells that are marked as raising but store no error."""
    for cell in document.code_cells:
        if cell.nbval["check_exception"] and not cell.errors:
            yield cell, "the cell is marked as raising, but stores no error"


@rule(
    "raises-and-ignore",
    reason="With both markers nbval passes when the cell raises, and also when it no longer does.",
    fix="Remove the ignore marker; move the varying output into a cell of its own.",
)
def raises_and_ignore(document: Document) -> Iterator[Problem]:
    """Report cells whose error is expected but not compared."""
    for cell in document.code_cells:
        if cell.nbval["check_exception"] and not cell.nbval["check"]:
            yield cell, "the cell may raise, and its output is ignored: nothing is checked"


@rule(
    "raises-by-tag",
    reason="JupyterLab's `Run All` goes on after an expected error only if the cell has the tag.",
    fix="Use the cell tag `raises-exception` instead of the comment.",
)
def raises_by_tag(document: Document) -> Iterator[Problem]:
    """Report expected errors that only nbval knows about."""
    for cell in document.code_cells:
        if cell.nbval["check_exception"] and "raises-exception" not in cell.tags:
            yield cell, "the error is announced by a comment, not by the tag"


@rule(
    "unannounced-error",
    reason="A stored error that nobody announced is a broken lesson.",
    fix="Repair the cell, or give it the tag `raises-exception` if it fails on purpose.",
)
def unannounced_error(document: Document) -> Iterator[Problem]:
    """Report stored errors without a marker."""
    for cell in document.code_cells:
        if cell.errors and not cell.nbval["check_exception"]:
            yield cell, f"the cell stores the error {_names(cell)}"


@rule(
    "second-error",
    reason="An expected error may hide a second one, such as a task that was left pending.",
    fix="Let the cell fail in one way only: await or cancel what it started.",
)
def second_error(document: Document) -> Iterator[Problem]:
    """Report cells that store more than one error."""
    for cell in document.code_cells:
        if len(cell.errors) > 1:
            yield cell, f"the cell stores {len(cell.errors)} errors: {_names(cell)}"


def _names(cell: Cell) -> str:
    return ", ".join(error["ename"] for error in cell.errors)
