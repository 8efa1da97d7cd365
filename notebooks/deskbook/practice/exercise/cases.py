"""The answers that come with an exercise, and what must become of each.

The stub must fail at the check that it names, the solution and the other right answers must pass, and each
wrong answer must be rejected by the check in its first line:

    # rejected by test_no_interleaving_loses_money: the balance is read again, but not checked again
    # rejected by test_other_requests_go_on (too slow): it waits for ever
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deskbook.practice.exercise.definition import Exercise

#: First line of a wrong answer.
REJECTED_BY = re.compile(r"# rejected by (test_\w+)(?: \((wrong|error|too slow)\))?: (\S.*)")


@dataclass(frozen=True)
class Case:
    """One answer and what must become of it.

    Attributes:
        name: The file, relative to the exercise's folder, or "the stub".
        source: The answer.
        state: The expected state; "rejected" for wrong, an error or too slow.
        check: The check that must reject it, or "".
    """

    name: str
    source: str
    state: str
    check: str = ""


def cases(exercise: Exercise) -> list[Case]:
    """Return the answers that come with an exercise."""
    found = [Case("the stub", exercise.stub, "rejected", exercise.stub_fails)]
    found.append(Case("solution.py", exercise.solution, "passed"))
    for path in sorted(exercise.folder.glob("also_right/*.py")):
        found.append(Case(f"also_right/{path.name}", path.read_text(encoding="utf-8"), "passed"))
    for path in sorted(exercise.folder.glob("wrong/*.py")):
        source = path.read_text(encoding="utf-8")
        match = REJECTED_BY.match(source)
        if match:
            found.append(Case(f"wrong/{path.name}", source, match[2] or "rejected", match[1]))
    return found
