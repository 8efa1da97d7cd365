"""What a rule is, and the list of them that each module of this package adds to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deskbook.authoring.document import Cell, Document

#: What a rule yields: the cell (None for the whole notebook) and what is wrong, in one sentence.
Problem = tuple[Cell | None, str]
Check = Callable[[Document], Iterator[Problem]]


@dataclass(frozen=True)
class Rule:
    """One thing that a notebook must hold.

    Attributes:
        name: Stable name, used in allowances and on the command line.
        reason: Why the rule exists.
        fix: What to do when it reports.
        check: Yields the problems of a notebook.
    """

    name: str
    reason: str
    fix: str
    check: Check


RULES: dict[str, Rule] = {}


def rule(name: str, *, reason: str, fix: str) -> Callable[[Check], Check]:
    """Register a function as the check of a rule."""

    def register(check: Check) -> Check:
        if name in RULES:
            raise ValueError(f"Two rules are named {name!r}; names are used in allowances and must differ.")
        RULES[name] = Rule(name, reason, fix, check)
        return check

    return register
