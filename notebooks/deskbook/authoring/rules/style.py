"""Small cells and plain words."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator

from deskbook.authoring.document import Document
from deskbook.authoring.rules.registry import Problem, rule

#: Longest code cell, in lines. Measured in courses that are read: 95 % of their cells are shorter than this.
LONGEST_CELL = 25

#: Highest median length of the code cells of a notebook, in lines.
HIGHEST_MEDIAN = 5

BANNED_WORDS = (
    "simply",
    "just",
    "obviously",
    "of course",
    "clearly",
    "basically",
    "trivial",
    "trivially",
    "simple",
    "easy",
    "easily",
    "needless to say",
    "as everyone knows",
    "foo",
    "foobar",
)

_BANNED = re.compile(rf"(?<![\w-])({'|'.join(BANNED_WORDS)})(?![\w-])", re.IGNORECASE)
NOT_PROSE = (
    re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL),
    re.compile(r"``.+?``|`[^`\n]+`"),
    re.compile(r"\]\([^)]*\)|<[^>\n]*>|https?://\S+"),
    re.compile(r"^>.*$", re.MULTILINE),
)


@rule(
    "long-cell",
    reason="A cell that does not fit on a projected screen cannot be taught from.",
    fix=f"Split the cell, or move code into the app, a pattern or `deskbook`; {LONGEST_CELL} lines at most.",
)
def long_cell(document: Document) -> Iterator[Problem]:
    """Report code cells that are too long; a stub has a limit of its own."""
    if document.is_exercise:
        return
    for cell in document.code_cells:
        if len(cell.code_lines) > LONGEST_CELL:
            yield cell, f"the cell has {len(cell.code_lines)} lines, {LONGEST_CELL} are allowed"


@rule(
    "median-cell",
    reason="A lesson is read in small steps, each with an output of its own.",
    fix="Split the long cells, or move helpers into `deskbook`.",
)
def median_cell(document: Document) -> Iterator[Problem]:
    """Report notebooks whose code cells are long on the whole."""
    if document.is_exercise:
        return
    lengths = [len(cell.code_lines) for cell in document.code_cells]
    if lengths and (median := statistics.median(lengths)) > HIGHEST_MEDIAN:
        yield None, f"the median code cell has {median:g} lines, {HIGHEST_MEDIAN} are allowed"


@rule(
    "banned-word",
    reason="`simply`, `easy` and `obviously` tell a reader who struggles that the fault is theirs.",
    fix="Leave the word out, or say what makes it so. Quotations (lines with >) and code are not checked.",
)
def banned_word(document: Document) -> Iterator[Problem]:
    """Report banned words in the prose of markdown cells."""
    for cell in document.markdown_cells:
        prose = cell.source
        for pattern in NOT_PROSE:
            prose = pattern.sub(" ", prose)
        found = dict.fromkeys(match.group(1).lower() for match in _BANNED.finditer(prose))
        if found:
            yield cell, f"the text says {', '.join(found)}"


@rule(
    "code-without-words",
    reason="Two code cells in a row without a word between them leave the reader without a question.",
    fix="Put a sentence before the cell: what to look at, or what changes now. Four in a row are too many.",
)
def code_without_words(document: Document) -> Iterator[Problem]:
    """Report the fourth code cell in a row."""
    run = 0
    for cell in document.cells:
        run = run + 1 if cell.is_code else 0
        if run == 4:
            yield cell, "this is the fourth code cell in a row without text"
