"""What went wrong first in a run of pytest, in a form that another process can read.

`deskbook notebook repeat` runs pytest many times and shows one difference. The plugin writes the first
failure to a file: of a cell of a notebook with what it should have shown and what it showed.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deskbook.authoring.normalise import COLOURS, merge_streams, normalise_output

#: Most lines of a text that are shown; the rest is counted.
MOST_LINES = 30

#: Types of output that a cell can store.
_KINDS = {"stream", "error", "display_data", "execute_result"}


@dataclass(frozen=True)
class FirstFailure:
    """The first thing of a run that failed.

    Attributes:
        place: The cell, counted as code cells from 1, or the id of a test.
        what: What happened, in one line or as the report of the test.
        source: Code of the cell; "" for a test.
        expected: Text of the stored outputs; "" for a test.
        got: Text of the fresh outputs; "" for a test.
    """

    place: str
    what: str
    source: str = ""
    expected: str = ""
    got: str = ""

    @classmethod
    def of_cell(cls, item: Any, report: str) -> FirstFailure:
        """Describe a cell of a notebook that failed under nbval.

        Args:
            item: The nbval item, which holds the stored and the fresh outputs.
            report: What nbval reported.
        """
        return cls(
            place=f"code cell {item.cell_num + 1}",
            what=_first_sentence(report, item.cell_num),
            source=item.cell.source,
            expected=_text(item.cell.outputs),
            got=_text(item.test_outputs or []),
        )

    def write(self, path: Path) -> None:
        """Write it where another process reads it."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> FirstFailure | None:
        """Return what a run has written, or None if nothing failed."""
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def lines(self) -> list[str]:
        """Return it as lines of text: place and reason, then the code, then expected against got."""
        if not self.source:
            return [f"{self.place}:", *_indented(self.what)]
        lines = [f"{self.place}: {self.what}", "", *_indented(self.source), ""]
        if self.expected == self.got:
            return [*lines, "The texts of both outputs are the same; pictures or types of output differ."]
        difference = difflib.unified_diff(
            self.expected.splitlines(), self.got.splitlines(), "expected", "got", lineterm="", n=1
        )
        return [*lines, *_indented("\n".join(difference))]


def _first_sentence(report: str, number: int) -> str:
    """Return the line in which nbval says what happened: "Cell 3: Cell outputs differ"."""
    text = COLOURS.sub("", report)
    match = re.search(rf"^Cell {number}: (.+)$", text, re.MULTILINE)
    return match[1] if match else text.strip().partition("\n")[0]


def _text(outputs: list[Any]) -> str:
    """Return outputs as nbval compares them, each below its type; of a picture its sentence."""
    parts = []
    for output in merge_streams([normalise_output(it) for it in outputs if it["output_type"] in _KINDS]):
        if output["output_type"] == "stream":
            parts.append(f"[{output['name']}]\n{output['text'].rstrip()}")
        elif output["output_type"] == "error":
            parts.append(f"[error]\n{output['ename']}: {output['evalue']}")
        else:
            parts += [
                f"[{mime}]\n{value}" for mime, value in output["data"].items() if mime.startswith("text/")
            ]
    return "\n".join(parts)


def _indented(text: str) -> list[str]:
    lines = text.splitlines()
    shown = [f"    {line}" for line in lines[:MOST_LINES]]
    return shown + ([f"    ... and {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else [])
