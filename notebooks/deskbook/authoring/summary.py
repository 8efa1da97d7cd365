"""The closing lines of a test run: what was executed, compared, corrupted and caught."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

from deskbook.authoring.comparison import CellVerdict

#: Least share of mutants that must be noticed, over all notebooks of a run.
LEAST_CAUGHT = 0.95

#: Least share of cells with output whose output is compared, over all notebooks of a run.
LEAST_COMPARED = 0.97


@dataclass
class NotebookFigures:
    """Figures of one notebook."""

    cells: int = 0
    failed: int = 0
    not_judged: int = 0
    seconds: float = 0.0


@dataclass
class Summary:
    """Figures of one test run.

    Attributes:
        notebooks: Figures by file name.
        outputs_compared: Cells with output whose output was compared.
        exempt: Cells with output that was not compared: (place, reason).
        verdicts: What became of the mutants, by cell.
        mutation_seconds: Time that the mutants took, in seconds.
        proven: Other things that tests have counted, such as planted holes, by name.
    """

    notebooks: dict[str, NotebookFigures] = field(default_factory=dict)
    outputs_compared: int = 0
    exempt: list[tuple[str, str]] = field(default_factory=list)
    verdicts: list[CellVerdict] = field(default_factory=list)
    mutation_seconds: float = 0.0
    proven: Counter[str] = field(default_factory=Counter)

    def add(self, other: Summary) -> None:
        """Add the figures of another part of the same run; a notebook is executed in one part only."""
        self.notebooks.update(other.notebooks)
        self.outputs_compared += other.outputs_compared
        self.exempt += other.exempt
        self.verdicts += other.verdicts
        self.mutation_seconds += other.mutation_seconds
        self.proven += other.proven

    @property
    def mutants(self) -> int:
        """Return the number of mutants."""
        return sum(verdict.mutants.total() for verdict in self.verdicts)

    @property
    def survivors(self) -> int:
        """Return the number of mutants that were not noticed."""
        return sum(len(verdict.survivors) for verdict in self.verdicts)

    def shortfalls(self) -> list[str]:
        """Return what misses its goal, each as a sentence."""
        found = []
        outputs = self.outputs_compared + len(self.exempt)
        if outputs and self.outputs_compared < LEAST_COMPARED * outputs:
            found.append(
                f"Only {_share(self.outputs_compared, outputs)} of the cells with output are compared, "
                f"{LEAST_COMPARED:.0%} is the goal. Make more outputs the same in every run."
            )
        caught = self.mutants - self.survivors
        if caught < LEAST_CAUGHT * self.mutants:
            found.append(
                f"Only {_share(caught, self.mutants)} of the changed outputs are noticed, "
                f"{LEAST_CAUGHT:.0%} is the goal. `deskbook notebook mutate` lists the survivors."
            )
        return found

    def lines(self, by_cell: bool = False) -> list[str]:
        """Return the summary as lines of text.

        Args:
            by_cell: Also list the mutants of every cell and every survivor.
        """
        lines = self._notebook_lines() + self._mutant_lines()
        if by_cell:
            lines += self._cell_lines()
        return lines + [f"{name}: {count} proven" for name, count in sorted(self.proven.items())]

    def _notebook_lines(self) -> list[str]:
        if not self.notebooks:
            return []
        cells = sum(each.cells for each in self.notebooks.values())
        seconds = sum(each.seconds for each in self.notebooks.values())
        outputs = self.outputs_compared + len(self.exempt)
        lines = [
            f"notebooks: {len(self.notebooks)} executed, {cells} code cells, {seconds:.1f} s",
            f"outputs: {outputs} cells with output, {self.outputs_compared} compared "
            f"({_share(self.outputs_compared, outputs)}), {len(self.exempt)} exempt",
        ]
        reasons = Counter(reason for _, reason in self.exempt)
        lines += [f"  {count} exempt: {reason}" for reason, count in reasons.most_common()]
        if hidden := sum(each.not_judged for each in self.notebooks.values()):
            lines.append(f"  {hidden} cells not judged, because a cell before them timed out")
        return lines

    def _mutant_lines(self) -> list[str]:
        if not self.verdicts:
            return []
        caught = self.mutants - self.survivors
        kinds = sum((verdict.mutants for verdict in self.verdicts), Counter[str]())
        reasons = Counter(each.reason for verdict in self.verdicts for each in verdict.survivors)
        return [
            f"mutants: {self.mutants} changed outputs, {caught} noticed ({_share(caught, self.mutants)}), "
            f"{self.mutation_seconds:.1f} s",
            "  kinds: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
            *[f"  {count} survived: {reason}" for reason, count in reasons.most_common()],
        ]

    def _cell_lines(self) -> list[str]:
        lines = []
        for notebook, verdicts in itertools.groupby(self.verdicts, key=lambda verdict: verdict.notebook):
            of_notebook = list(verdicts)
            lines.append(f"  {notebook}: {_noticed(of_notebook)}")
            for verdict in of_notebook:
                lines.append(f"    cell {verdict.number}: {_noticed([verdict])}")
                for each in verdict.survivors:
                    lines.append(f"      survived: {each.mutant.kind}, {each.mutant.change} ({each.reason})")
        return lines


def _noticed(verdicts: list[CellVerdict]) -> str:
    total = sum(verdict.mutants.total() for verdict in verdicts)
    survived = sum(len(verdict.survivors) for verdict in verdicts)
    return f"{total - survived} of {total} noticed"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
