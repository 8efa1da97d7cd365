"""What makes a page a lesson: the reader predicts first, and hears where the fix stops working."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deskbook.authoring.document import Cell, Document
from deskbook.authoring.reading_time import is_picture
from deskbook.authoring.rules.grammar import section_of
from deskbook.authoring.rules.registry import Problem, rule
from deskbook.authoring.rules.style import NOT_PROSE

#: The three sizes of a service that the table of a lesson compares, in the words of its columns or rows.
STAGES = ("MVP", "growth", "enterprise")

#: Sections in which a picture answers something; in "Your turn" it shows what the reader has changed.
_ANSWERING = {"Break it", "See why", "Fix it", "Prove it", "Limits and trade-offs"}

_QUESTION = re.compile(r"\w[^.!?]*\?")


@rule(
    "no-question",
    reason="Who has said what will happen sees where they were wrong; who has not, nods.",
    fix="Ask before the picture: a sentence with a question mark in the text after the last picture.",
)
def no_question(document: Document) -> Iterator[Problem]:
    """Report pictures before which the page asks nothing.

    Which output is a key output can be decided where it is a picture: nobody draws one for a side issue. The
    question stands in a markdown cell after the last picture, or the heading of the section, and before this
    one. Whether it asks for what the picture shows, only a reader can say.
    """
    if not document.is_lesson:
        return
    asked, section = False, None
    for cell in document.cells:
        if cell.kind == "markdown":
            if heading := section_of(cell):
                asked, section = False, heading
            asked = asked or bool(_QUESTION.search(_prose(cell)))
        elif any(is_picture(output) for output in cell.outputs):
            if section in _ANSWERING and not asked:
                yield cell, "the cell shows a picture, and the page asks nothing before it"
            asked = False


def _prose(cell: Cell) -> str:
    text = cell.source
    for pattern in NOT_PROSE:
        text = pattern.sub(" ", text)
    return text


@rule(
    "stages-table",
    reason="What is right for a first version is wrong for a bank; a reader looks for the column of theirs.",
    fix=f"Put a table with {', '.join(STAGES)} into the section Limits and trade-offs.",
)
def stages_table(document: Document) -> Iterator[Problem]:
    """Report a lesson whose Limits have no table of the three stages."""
    if not document.is_lesson:
        return
    section, lines = None, []
    for cell in document.markdown_cells:
        section = section_of(cell) or section
        if section == "Limits and trade-offs":
            lines += [line.lower() for line in cell.source.splitlines() if line.lstrip().startswith("|")]
    if missing := [stage for stage in STAGES if not any(stage.lower() in line for line in lines)]:
        yield None, f"no table of the section Limits and trade-offs says {', '.join(missing)}"
