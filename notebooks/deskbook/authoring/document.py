"""A notebook as the rules see it: cells with their code parsed once."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deskbook.authoring.markers import nbval_options

#: A line of IPython's own syntax; Python cannot parse it.
_MAGIC_LINE = re.compile(r"^(\s*)(%|!|\?)|^(\s*)\S+\?\??$")

#: Cell magics below which ordinary Python stands.
_PYTHON_MAGICS = {"exercise", "module", "time", "timeit", "capture"}

#: A lesson is numbered by part: 1x to 6x.
LESSON_NAME = re.compile(r"^[1-6]\d_[a-z0-9_]+$")

#: The page on which everybody begins; it is no lesson, but it states minutes.
START_PAGE = "00_start_here"

#: The page of an exercise, in a folder of its own.
EXERCISE_PAGE = "exercise.ipynb"


def short_name(path: Path) -> str:
    """Return the name of a notebook for reports: pages of exercises all have the same file name."""
    return f"{path.parent.name}/{path.name}" if path.name == EXERCISE_PAGE else path.name


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        number: Position in the notebook, from 1, markdown cells included.
        kind: "code", "markdown" or "raw".
        source: Text of the cell.
        metadata: Metadata of the cell.
        outputs: Stored outputs of a code cell.
        count: Stored execution count, or None.
        id: Identifier, or None in an old file.
        attachments: Names of the pictures inside a markdown cell.
    """

    number: int
    kind: str
    source: str
    metadata: dict[str, Any] = field(default_factory=dict)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    count: int | None = None
    id: str | None = None
    attachments: tuple[str, ...] = ()

    @property
    def is_code(self) -> bool:
        """Say whether the cell holds code."""
        return self.kind == "code"

    @property
    def tags(self) -> list[str]:
        """Return the tags of the cell."""
        return list(self.metadata.get("tags", []))

    @property
    def deskbook(self) -> dict[str, Any]:
        """Return the course's own metadata of the cell."""
        own = self.metadata.get("deskbook", {})
        return own if isinstance(own, dict) else {}

    @property
    def allowances(self) -> dict[str, str]:
        """Return the rules that this cell may break, with the reasons."""
        return dict(self.deskbook.get("allow", {}))

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Return the stored error outputs."""
        return [output for output in self.outputs if output["output_type"] == "error"]

    @functools.cached_property
    def nbval(self) -> dict[str, bool]:
        """Return what nbval does with the cell: check, check_exception, skip."""
        return nbval_options({"metadata": self.metadata}, self.source)

    @functools.cached_property
    def code_lines(self) -> list[str]:
        """Return the lines of the cell without blank lines at its ends."""
        return self.source.strip().splitlines()

    @functools.cached_property
    def tree(self) -> ast.Module | None:
        """Return the parsed code, or None where it is not Python."""
        try:
            return ast.parse(self.python)
        except SyntaxError:
            return None

    @property
    def python(self) -> str:
        """Return the code with IPython's own lines replaced by `pass`, so that line numbers stay."""
        lines = self.source.splitlines()
        if lines and lines[0].startswith("%%"):
            name = lines[0][2:].split(maxsplit=1)[0] if lines[0][2:].strip() else ""
            if name not in _PYTHON_MAGICS:
                return ""
        return "\n".join(
            _MAGIC_LINE.sub(r"\1pass  # ", line) if _MAGIC_LINE.match(line) else line for line in lines
        )

    def walk(self) -> Iterator[ast.AST]:
        """Yield the nodes of the parsed code."""
        if self.tree is not None:
            yield from ast.walk(self.tree)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield (where, text) of every stored piece of text."""
        for output in self.outputs:
            kind = output["output_type"]
            if kind == "stream":
                yield output["name"], output["text"]
            elif kind == "error":
                yield "error", "\n".join([f"{output['ename']}: {output['evalue']}", *output["traceback"]])
            else:
                for mime, value in output.get("data", {}).items():
                    if isinstance(value, str) and (mime.startswith("text/") or mime == "image/svg+xml"):
                        yield mime, value


@dataclass(frozen=True)
class Document:
    """One notebook with its place in the repository."""

    path: Path
    cells: tuple[Cell, ...]
    metadata: dict[str, Any]

    @classmethod
    def from_notebook(cls, path: Path, notebook: dict[str, Any]) -> Document:
        """Build the document from the data of `read_notebook`."""
        cells = tuple(
            Cell(
                number=number,
                kind=cell["cell_type"],
                source=cell["source"],
                metadata=cell.get("metadata", {}),
                outputs=cell.get("outputs", []),
                count=cell.get("execution_count"),
                id=cell.get("id"),
                attachments=tuple(cell.get("attachments", {})),
            )
            for number, cell in enumerate(notebook["cells"], start=1)
        )
        return cls(path, cells, notebook.get("metadata", {}))

    @property
    def code_cells(self) -> list[Cell]:
        """Return the code cells."""
        return [cell for cell in self.cells if cell.is_code]

    @property
    def markdown_cells(self) -> list[Cell]:
        """Return the markdown cells."""
        return [cell for cell in self.cells if cell.kind == "markdown"]

    @property
    def deskbook(self) -> dict[str, Any] | None:
        """Return the course's own metadata of the notebook."""
        own = self.metadata.get("deskbook")
        return own if isinstance(own, dict) else None

    @property
    def is_lesson(self) -> bool:
        """Say whether the grammar of a lesson applies: parts 1 to 6, but not the start page."""
        return bool(LESSON_NAME.match(self.path.stem))

    @property
    def is_start_page(self) -> bool:
        """Say whether this is the page on which everybody begins."""
        return self.path.stem == START_PAGE

    @property
    def is_exercise(self) -> bool:
        """Say whether this is the page of an exercise; `deskbook exercise verify` checks the rest of it."""
        return self.path.name == EXERCISE_PAGE
