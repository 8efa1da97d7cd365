"""Ask nbval whether it would notice a changed output.

The cell has run once and nbval holds its fresh outputs. Each mutant of the stored outputs goes through
nbval's own comparison on the same item, so the answer is the one that a real run would give.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from deskbook.authoring.document import short_name
from deskbook.authoring.markers import ignore_reason
from deskbook.authoring.mutations import Mutant, mutants_of
from deskbook.authoring.sanitize import SANITIZE_FILE, sanitize


@dataclass(frozen=True)
class Survivor:
    """A mutant that the comparison did not notice, and why."""

    mutant: Mutant
    reason: str


@dataclass
class CellVerdict:
    """What became of the mutants of one cell.

    Attributes:
        notebook: File name of the notebook.
        number: Number of the code cell as nbval counts it, from 0.
        mutants: Number of mutants by kind.
        survivors: The mutants that were not noticed.
    """

    notebook: str
    number: int
    mutants: Counter[str] = field(default_factory=Counter)
    survivors: list[Survivor] = field(default_factory=list)


def mutate_cell(item: Any) -> CellVerdict:
    """Run all mutants of one executed cell through nbval's comparison.

    Args:
        item: The nbval item of a cell that has passed; it holds the stored and the fresh outputs.
    """
    verdict = CellVerdict(short_name(item.path), item.cell_num)
    with _quick_comparison(item):
        for mutant in mutants_of(item.cell.outputs):
            verdict.mutants[mutant.kind] += 1
            if not is_noticed(item, mutant):
                verdict.survivors.append(Survivor(mutant, _reason(item, mutant)))
    return verdict


def is_noticed(item: Any, mutant: Mutant) -> bool:
    """Say whether nbval would fail the cell if its stored outputs were those of the mutant."""
    from nbval.plugin import coalesce_streams

    if item.options["skip"] or not item.options["check"]:
        return False
    return not item.compare_outputs(item.test_outputs, coalesce_streams(mutant.outputs))


def _reason(item: Any, mutant: Mutant) -> str:
    """Say why a mutant survived."""
    if item.options["skip"] or not item.options["check"]:
        return f"not compared: {ignore_reason(item.cell.source) or 'no reason given'}"
    changed, stored = _texts(mutant.outputs), _texts(item.cell.outputs)
    if changed != stored and [sanitize(text) for text in changed] == [sanitize(text) for text in stored]:
        return f"hidden by a pattern of {SANITIZE_FILE.name}"
    return "nbval does not compare this"


def _texts(outputs: list[dict[str, Any]]) -> list[str]:
    values = [
        value
        for output in outputs
        for value in (output.get("text"), output.get("evalue"), *output.get("data", {}).values())
    ]
    return [value for value in values if isinstance(value, str)]


@contextlib.contextmanager
def _quick_comparison(item: Any) -> Iterator[None]:
    """Leave out what a verdict does not need: the written difference, and sanitizing one text many times."""
    item.format_output_compare = lambda *args: None
    item.sanitize = functools.lru_cache(maxsize=4096)(item.sanitize)
    try:
        yield
    finally:
        del item.format_output_compare
        del item.sanitize
