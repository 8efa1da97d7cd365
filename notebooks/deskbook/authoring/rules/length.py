"""How long a lesson is, and that it says so honestly."""

from __future__ import annotations

from collections.abc import Iterator

from deskbook.authoring.document import Document
from deskbook.authoring.reading_time import LEAST_TOLERANCE, TOLERANCE, Reading
from deskbook.authoring.rules.registry import Problem, rule

#: Most cells of a lesson. A page with more has two ideas.
MOST_CELLS = 100


@rule(
    "too-many-cells",
    reason="Readers of a page with 144 cells needed half as long again as it said: it had two ideas.",
    fix=f"Make two lessons of it, or leave out what its promise does not need; {MOST_CELLS} cells at most.",
)
def too_many_cells(document: Document) -> Iterator[Problem]:
    """Report the first cell past the limit, which is where an allowance stands too."""
    if document.is_lesson and len(document.cells) > MOST_CELLS:
        yield (
            document.cells[MOST_CELLS],
            f"the lesson has {len(document.cells)} cells, {MOST_CELLS} are allowed",
        )


@rule(
    "computed-minutes",
    reason="Who plans an evening or a workshop by the minutes of a page must be able to trust them.",
    fix="Write the computed minutes into the metadata and the opening, or shorten the page. How they are "
    "computed stands in `deskbook.authoring.reading_time`.",
)
def computed_minutes(document: Document) -> Iterator[Problem]:
    """Report a lesson, or the start page, that takes another time than it says."""
    stated = (document.deskbook or {}).get("minutes")
    if not (document.is_lesson or document.is_start_page) or not isinstance(stated, int):
        return
    reading = Reading.of_document(document)
    if abs(stated - reading.minutes) > max(TOLERANCE * reading.minutes, LEAST_TOLERANCE):
        yield None, f"the page takes {reading.minutes:.0f} minutes ({reading}), it says {stated}"
