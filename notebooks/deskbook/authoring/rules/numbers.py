"""A number in the text stands on the page too: in an output, or in code that the reader has before them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from deskbook.authoring.document import Cell, Document
from deskbook.authoring.normalise import COLOURS
from deskbook.authoring.rules.registry import Problem, rule
from deskbook.authoring.rules.style import NOT_PROSE

_NUMBER = r"\d[\d,_]*(?:\.\d+)?"
#: Not a part of a name (`aiohttp3`, `p-95`), of a path or of a longer number.
_IN_PROSE = re.compile(rf"(?<![\w.,/#-]){_NUMBER}(?!\w)")
_ANYWHERE = re.compile(_NUMBER)
#: Numbers that name a thing and count nothing. A status stands as code: `422`.
_NAMES = re.compile(
    rf"\b(lessons?|RFC|version|Python|FastAPI|SQLAlchemy|PostgreSQL|Redis|Valkey|HTTP/?) ?{_NUMBER}"
    rf"((,| and| to) {_NUMBER})*",
    re.IGNORECASE,
)
#: From this heading on stand years and pages.
_SOURCES = re.compile(r"^## Further", re.MULTILINE)
#: What a reader sees of an output; the HTML of a page says the same as its text.
_READ = ("stdout", "stderr", "error", "text/plain")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@rule(
    "prose-number",
    reason="A number in the text that no cell shows is a claim, and it stays when the code changes.",
    fix="Let a cell print it, say it in the code beside the text, or leave it out. Write a status as `422`.",
)
def prose_number(document: Document) -> Iterator[Problem]:
    """Report numbers of a lesson's prose that neither an output nor the code beside it shows."""
    if not document.is_lesson:
        return
    for index, cell in enumerate(document.cells):
        if cell.kind != "markdown" or index == 0:  # the opening promises minutes
            continue
        shown = _shown(document.cells, index)
        numbers = _numbers(_prose(cell.source), _IN_PROSE)
        found = [written for value, written in numbers.items() if value not in shown]
        if found:
            yield cell, f"{', '.join(found)} stands in the text, and in no output or code beside it"


def _prose(source: str) -> str:
    text = _COMMENT.sub(" ", _SOURCES.split(source)[0])
    for pattern in (*NOT_PROSE, _NAMES):
        text = pattern.sub(" ", text)
    return text


def _numbers(text: str, pattern: re.Pattern[str]) -> dict[Decimal, str]:
    """Return the numbers of a text by their value, as they are written there first: 20 is 20.00."""
    found: dict[Decimal, str] = {}
    for match in pattern.finditer(text):
        found.setdefault(Decimal(re.sub(r"[,_]", "", match.group())), match.group())
    return found


def _shown(cells: tuple[Cell, ...], index: int) -> set[Decimal]:
    """Return the numbers that the reader of a text has seen, or sees next."""
    after = _run(cells[index + 1 :])
    # What a picture is made of has numbers too, and nobody reads them.
    texts = (it for cell in (*cells[:index], *after) for it in cell.texts())
    shown = [COLOURS.sub("", text) for kind, text in texts if kind in _READ]
    shown += [cell.source for cell in (*_run(cells[:index][::-1]), *after)]
    return {value for text in shown for value in _numbers(text, _ANYWHERE)}


def _run(cells: tuple[Cell, ...]) -> list[Cell]:
    """Return the code cells at the start."""
    found: list[Cell] = []
    for cell in cells:
        if not cell.is_code:
            break
        found.append(cell)
    return found
