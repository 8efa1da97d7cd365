"""The grammar of a lesson: the same steps in the same order everywhere, so that nobody has to search."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deskbook.authoring.document import Cell, Document
from deskbook.authoring.rules.registry import Problem, rule

#: The sections of a lesson; a heading starts with these words: "## Break it: one call stops the desk".
SECTIONS = (
    "Break it",
    "See why",
    "Fix it",
    "Prove it",
    "Limits and trade-offs",
    "Your turn",
    "Recap",
    "Further",
)

#: What stands before the first section, as bold words or as part of a line.
OPENING = ("You will", "You need", "In a hurry")

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*$")
_BULLET = re.compile(r"^\s*[-*]\s+(.+?)\s*$", re.MULTILINE)


def headings(document: Document) -> list[tuple[int, str]]:
    """Return (level, text) of the headings, without those inside code fences."""
    return [heading for cell in document.markdown_cells for heading in _headings(cell)]


def _headings(cell: Cell) -> Iterator[tuple[int, str]]:
    fenced = False
    for line in cell.source.splitlines():
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        match = _HEADING.match(line)
        if match and not fenced:
            yield len(match.group(1)), match.group(2)


def section_of(cell: Cell) -> str | None:
    """Return the last section of the grammar that begins in a markdown cell, or None."""
    found = [_section(text) for level, text in _headings(cell) if level == 2]
    return next((name for name in reversed(found) if name), None)


@rule(
    "one-title",
    reason="The title is the name of the lesson in the map, in search and for screen readers.",
    fix="Start the first cell with `# Title`, and use `##` and `###` below it.",
)
def one_title(document: Document) -> Iterator[Problem]:
    """Report notebooks that do not start with their only title."""
    titles = [text for level, text in headings(document) if level == 1]
    first = document.cells[0] if document.cells else None
    if len(titles) != 1:
        yield None, f"the notebook has {len(titles)} titles, expected one"
    elif first is None or not first.source.startswith("# "):
        yield first, "the first cell does not start with the title"


@rule(
    "lesson-sections",
    reason="Every lesson breaks, shows, fixes and proves in the same order; readers and agenda rely on it.",
    fix=f"Use the `##` headings {', '.join(SECTIONS)}, in this order; other headings are `###`.",
)
def lesson_sections(document: Document) -> Iterator[Problem]:
    """Report missing, unknown and misplaced sections of a lesson."""
    if not document.is_lesson:
        return
    found = [(_section(text), text) for level, text in headings(document) if level == 2]
    for name, text in found:
        if name is None:
            yield None, f"the section {text!r} is not part of the grammar"
    firsts = list(dict.fromkeys(name for name, _ in found if name))
    if missing := [name for name in SECTIONS if name not in firsts]:
        yield None, f"sections are missing: {', '.join(missing)}"
    elif firsts != list(SECTIONS):
        yield None, f"the sections stand in the order {', '.join(firsts)}"


def _section(heading: str) -> str | None:
    return next((name for name in SECTIONS if heading.lower().startswith(name.lower())), None)


@rule(
    "lesson-opening",
    reason="A reader decides in the first screen: what they will be able to do, what they need, how long.",
    fix="Before the first section: **You will** with the three goals as bullets, **You need**, the minutes, "
    "**In a hurry**. The words are those of the metadata.",
)
def lesson_opening(document: Document) -> Iterator[Problem]:
    """Report what the opening of a lesson lacks."""
    if not document.is_lesson:
        return
    text = _opening_text(document)
    for words in OPENING:
        if words.lower() not in text.lower():
            yield None, f"the opening lacks **{words}**"
    own = document.deskbook or {}
    if own.get("minutes") and not re.search(rf"\b{own['minutes']} min", text):
        yield None, f"the opening does not say `{own['minutes']} minutes`"
    bullets = [_plain(bullet) for bullet in _BULLET.findall(text)]
    for goal in own.get("goals") or []:
        if _plain(str(goal)) not in bullets:
            yield None, f"the goal {goal!r} of the metadata is no bullet of the opening"


def _opening_text(document: Document) -> str:
    """Return the markdown before the first section."""
    text = "\n".join(cell.source for cell in document.markdown_cells)
    return re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]


def _plain(text: str) -> str:
    return re.sub(r"[*_`.]", "", text).strip().lower()


@rule(
    "lesson-recap",
    reason="The recap mirrors the promise: whoever skims finds the three things that matter.",
    fix="Give the section Recap three bullets, one for each goal.",
)
def lesson_recap(document: Document) -> Iterator[Problem]:
    """Report a recap with other than three bullets."""
    if not document.is_lesson:
        return
    text = "\n".join(cell.source for cell in document.markdown_cells)
    match = re.search(r"^## Recap.*?$(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL | re.IGNORECASE)
    if match and len(_BULLET.findall(match.group(1))) != 3:
        yield None, f"the recap has {len(_BULLET.findall(match.group(1)))} bullets, the promise has three"
