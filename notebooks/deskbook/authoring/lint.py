"""Check notebooks against the rules of the course.

nbval compares outputs, but it passes a cell that was never executed, a marker it does not recognise and a
failure in the background. The rules close these holes, and hold the style of the lessons.

Each rule is one small function in `deskbook.authoring.rules`. Its name, the reason for it and what to do
stand in its `rule(...)` line, and `deskbook notebook lint --explain NAME` shows them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deskbook.authoring.document import Cell, Document
from deskbook.authoring.notebook_file import read_notebook
from deskbook.authoring.rules.registry import RULES, Problem, Rule


@dataclass(frozen=True)
class Finding:
    """One broken rule at one place."""

    path: Path
    cell: Cell | None
    rule: Rule
    problem: str

    def __str__(self) -> str:
        """Return one line for the terminal."""
        place = f"{self.path}: cell {self.cell.number}" if self.cell else f"{self.path}"
        return f"{place}: {self.rule.name}: {self.problem}"


def all_rules() -> dict[str, Rule]:
    """Import every module of rules and return the rules by name."""
    from deskbook.authoring import rules

    for module in pkgutil.iter_modules(rules.__path__):
        importlib.import_module(f"{rules.__name__}.{module.name}")
    return RULES


def lint_notebook(path: Path) -> list[Finding]:
    """Return what breaks a rule in one notebook, cell by cell.

    Raises:
        NotebookFileError: If the file is no notebook.
    """
    document = Document.from_notebook(path, read_notebook(path))
    findings: list[Finding] = []
    used: set[tuple[int, str]] = set()
    for each in all_rules().values():
        for cell, problem in each.check(document):
            if cell is not None and each.name in cell.allowances:
                used.add((cell.number, each.name))
            else:
                findings.append(Finding(path, cell, each, problem))
    findings += _allowance_findings(document, used)
    return sorted(
        findings, key=lambda finding: (finding.cell.number if finding.cell else 0, finding.rule.name)
    )


def _allowance_findings(document: Document, used: set[tuple[int, str]]) -> Iterator[Finding]:
    """Report allowances that nothing needs, that name no rule or that give no reason."""
    for cell in document.cells:
        for name, reason in cell.allowances.items():
            if name not in RULES:
                problem = f"allows {name!r}, which is no rule"
            elif not str(reason).strip():
                problem = f"allows {name!r} without a reason"
            elif (cell.number, name) not in used:
                problem = f"allows {name!r}, but the cell no longer breaks it"
            else:
                continue
            yield Finding(document.path, cell, UNUSED_ALLOWANCE, problem)


def _checked_with_the_others(document: Document) -> Iterator[Problem]:
    """Report nothing: allowances are checked when all rules have run."""
    yield from ()


UNUSED_ALLOWANCE = Rule(
    "unused-allowance",
    reason="An allowance that outlives its need hides the next mistake in that cell.",
    fix="Remove the entry from `allow` in the cell's `deskbook` metadata, or give its reason as a sentence.",
    check=_checked_with_the_others,
)
RULES[UNUSED_ALLOWANCE.name] = UNUSED_ALLOWANCE
