"""How long a page takes, computed from what stands on it.

The constants are fitted to two readers, who worked through eight lessons cell by cell, solved the exercises
and said how long each takes: all eight come within a sixth of what they said, on average within 8 %. Prose is
slow here, because it is tried while it is read; code and pictures are looked at with the text beside them.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from deskbook.authoring.document import Cell, Document

WORDS_A_MINUTE = 65
CODE_LINE_S = 3.0
PICTURE_S = 30.0

#: How far the stated minutes may be from the computed ones, as a share of these.
TOLERANCE = 1 / 6

#: A page of a few minutes may be so many off: of these a sixth is less than what readers differ by.
LEAST_TOLERANCE = 3

_WORD = re.compile(r"\w+(?:[-'.,]\w+)*")
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK_TARGET = re.compile(r"\]\([^)]*\)")


@dataclass(frozen=True)
class Reading:
    """What there is to read and to do on a page, or on a part of it.

    Attributes:
        words: Words of the prose, tables included.
        code_lines: Lines of code that are not blank: in cells, in fences, and of shown sources.
        pictures: Outputs that are pictures.
        exercise_minutes: What the exercises of the lesson say that they take.
    """

    words: int
    code_lines: int
    pictures: int
    exercise_minutes: int = 0

    @classmethod
    def of_document(cls, document: Document) -> Reading:
        """Count a whole notebook, with the exercises that its metadata names."""
        return cls.of_cells(document.cells, exercise_minutes(document))

    @classmethod
    def of_cells(cls, cells: tuple[Cell, ...] | list[Cell], minutes: int = 0) -> Reading:
        """Count some cells.

        Args:
            cells: The cells.
            minutes: What exercises add to them.
        """
        prose = [cell.source for cell in cells if cell.kind == "markdown"]
        code = [cell.source for cell in cells if cell.is_code]
        code += [match[0] for text in prose for match in _FENCED.finditer(text)]
        code += [text for cell in cells for mime, text in cell.texts() if mime == "text/markdown"]
        return cls(
            words=sum(len(_WORD.findall(_LINK_TARGET.sub("", _FENCED.sub("", text)))) for text in prose),
            code_lines=sum(bool(line.strip()) for text in code for line in text.splitlines()),
            pictures=sum(is_picture(output) for cell in cells for output in cell.outputs),
            exercise_minutes=minutes,
        )

    @property
    def minutes(self) -> float:
        """The time that it takes, in minutes."""
        looking_s = self.code_lines * CODE_LINE_S + self.pictures * PICTURE_S
        return self.words / WORDS_A_MINUTE + looking_s / 60 + self.exercise_minutes

    def __str__(self) -> str:
        """Say what the minutes are made of."""
        parts = f"{self.words} words, {self.code_lines} lines of code, {self.pictures} pictures"
        return f"{parts}, {self.exercise_minutes} minutes of exercises"


def exercise_minutes(document: Document) -> int:
    """Return the minutes of the exercises that a lesson names; one that is not there counts nothing."""
    names = (document.deskbook or {}).get("exercises") or []
    folder = document.path.resolve().parent.parent / "exercises"
    facts = [folder / str(name) / "hints.toml" for name in names]
    return sum(_stated_minutes(path) for path in facts if path.is_file())


def _stated_minutes(path: Path) -> int:
    minutes = tomllib.loads(path.read_text(encoding="utf-8")).get("minutes", 0)
    return int(minutes)


def is_picture(output: dict[str, object]) -> bool:
    """Say whether the reader sees a picture: a PNG, or an SVG that stands inside a page."""
    data = output.get("data")
    if not isinstance(data, dict):
        return False
    page = str(data.get("text/html", ""))
    return (
        bool({"image/png", "image/jpeg", "image/svg+xml"} & set(data)) or "<svg" in page or "svg+xml" in page
    )
