"""The gate over exercises: a check that accepts a wrong answer teaches it.

For each exercise the stub must fail at the check that it names, the solution and the other right answers
must pass, and each wrong answer must be rejected by the check in its first line:

    # rejected by test_no_interleaving_loses_money: the balance is read again, but not checked again
    # rejected by test_other_requests_go_on (too slow): it waits for ever
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .answers import is_unchanged
from .client import Client
from .errors import PracticeError
from .exercise import REGION_ENDS, REGION_STARTS, Exercise, read
from .verdict import Verdict, submit

LONGEST_STUB = 40
FEWEST_MINUTES, MOST_MINUTES = 5, 15
FEWEST_WRONG = 3
FEWEST_ALSO_RIGHT = 2
HINT_LEVELS = 3

FILES = {"exercise.ipynb", "checks.py", "solution.py", "hints.toml"}
FOLDERS = {"also_right", "wrong"}

#: What an unfinished exercise contains; `deskbook exercise new` writes it.
UNFINISHED = "TO DO"

_REJECTED_BY = re.compile(r"# rejected by (test_\w+)(?: \((wrong|error|too slow)\))?: (\S.*)")


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


def problems(folder: Path, client: Client) -> list[str]:
    """Return what is wrong with an exercise, each as one sentence; an empty list if it holds.

    Args:
        folder: Folder of the exercise.
        client: Knows the worker.
    """
    try:
        exercise = read(folder)
    except PracticeError as error:
        return [str(error)]
    found = list(_form(exercise))
    for case in cases(exercise):
        found += list(_judged(exercise, case, client))
    return found


def cases(exercise: Exercise) -> list[Case]:
    """Return the answers that come with an exercise."""
    found = [Case("the stub", exercise.stub, "rejected", exercise.stub_fails)]
    found.append(Case("solution.py", exercise.solution, "passed"))
    for path in sorted(exercise.folder.glob("also_right/*.py")):
        found.append(Case(f"also_right/{path.name}", path.read_text(encoding="utf-8"), "passed"))
    for path in sorted(exercise.folder.glob("wrong/*.py")):
        source = path.read_text(encoding="utf-8")
        match = _REJECTED_BY.match(source)
        if match:
            found.append(Case(f"wrong/{path.name}", source, match[2] or "rejected", match[1]))
    return found


def _judged(exercise: Exercise, case: Case, client: Client) -> Iterator[str]:
    """Submit one answer and report what is not as stated."""
    try:
        verdict = submit(exercise, case.source, client, first_line=1, even_if_unchanged=True)
    except PracticeError as error:
        yield f"{case.name}: {error}"
        return
    if case.state == "passed" and verdict.state != "passed":
        yield f"{case.name} should pass, but {_in_words(verdict)}"
    elif case.state == "rejected" and verdict.state == "passed":
        yield f"{case.name} should be rejected by {case.check}, but it passes"
    elif case.state not in ("rejected", verdict.state):
        yield f"{case.name} should be {case.state}, but {_in_words(verdict)}"
    elif case.check != verdict.failing:
        yield f"{case.name} should be rejected by {case.check}, but {_in_words(verdict)}"


def _in_words(verdict: Verdict) -> str:
    if verdict.state == "passed":
        return "it passes"
    place = f" at {verdict.failing}" if verdict.failing else " before the checks"
    return f"it is {verdict.state}{place}: {verdict.message}".rstrip(": ")


def _form(exercise: Exercise) -> Iterator[str]:
    """Report what is missing or stray, without running anything."""
    yield from _folder(exercise.folder)
    yield from _checks(exercise)
    yield from _hints(exercise)
    lines = exercise.stub.strip().splitlines()
    if len(lines) > LONGEST_STUB:
        yield f"the stub has {len(lines)} lines, {LONGEST_STUB} are allowed"
    if not FEWEST_MINUTES <= exercise.minutes <= MOST_MINUTES:
        yield f"minutes is {exercise.minutes}, expected {FEWEST_MINUTES} to {MOST_MINUTES}"
    if not exercise.title:
        yield "exercise.ipynb has no title"
    if len(exercise.why.split()) < 20:
        yield "solution.py says in fewer than 20 words why it works; write two or three sentences"
    if is_unchanged(exercise.stub, exercise.solution):
        yield "the solution is the stub"
    yield from _drift(exercise)


def _folder(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.name not in (FOLDERS if path.is_dir() else FILES) and path.name != ".ipynb_checkpoints":
            yield f"{path.name} does not belong into an exercise's folder"
    for name, fewest in (("wrong", FEWEST_WRONG), ("also_right", FEWEST_ALSO_RIGHT)):
        files = sorted((folder / name).glob("*"))
        if stray := [path.name for path in files if path.suffix != ".py"]:
            yield f"{name}/{stray[0]} does not belong there"
        if len(files) < fewest:
            yield f"{name}/ has {len(files)} answers, {fewest} are asked for"
    for path in sorted(folder.glob("wrong/*.py")):
        if not _REJECTED_BY.match(path.read_text(encoding="utf-8")):
            yield f"wrong/{path.name}: the first line should be `# rejected by test_name: why it is wrong`"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and UNFINISHED in path.read_text(encoding="utf-8", errors="replace"):
            yield f"{path.relative_to(folder)} is not finished: it says {UNFINISHED}"


def _checks(exercise: Exercise) -> Iterator[str]:
    if not exercise.checks:
        yield "checks.py has no tests"
    for check in exercise.checks:
        if not check.sentence:
            yield f"{check.name} has no docstring, which is the sentence that the learner reads"
    names = [check.name for check in exercise.checks]
    if exercise.stub_fails not in names:
        yield f"stub_fails names {exercise.stub_fails}, which is no test of checks.py"
    used = {case.check for case in cases(exercise)} - {""}
    if unknown := sorted(used - set(names)):
        yield f"{unknown[0]} is named by an answer, but is no test of checks.py"
    if idle := [name for name in names if name not in used]:
        yield f"{idle[0]} rejects none of the wrong answers, so nobody knows whether it can fail"


def _hints(exercise: Exercise) -> Iterator[str]:
    for check in exercise.checks:
        levels = exercise.hints.get(check.name, ())
        if len(levels) != HINT_LEVELS or not all(isinstance(text, str) and text.strip() for text in levels):
            yield f"hints.toml needs {HINT_LEVELS} hints for {check.name}, it has {len(levels)}"
    if unknown := sorted(set(exercise.hints) - {check.name for check in exercise.checks}):
        yield f"hints.toml has hints for {unknown[0]}, which is no test of checks.py"


def _drift(exercise: Exercise) -> Iterator[str]:
    """Report lines of the stub that are not the learner's and that the solution lacks."""
    if exercise.fields:
        return
    stub = [line.rstrip() for line in exercise.stub.splitlines()]
    marks = [line.strip() for line in stub if line.strip() in (REGION_STARTS, REGION_ENDS)]
    if marks != [REGION_STARTS, REGION_ENDS] * (len(marks) // 2) or not marks:
        yield f"the stub needs the lines `{REGION_STARTS}` and `{REGION_ENDS}` around what is to be changed"
        return
    solution = iter([line.rstrip() for line in exercise.solution.splitlines()])
    is_learners = False
    for line in stub:
        if line.strip() in (REGION_STARTS, REGION_ENDS):
            is_learners = line.strip() == REGION_STARTS
        elif line.strip() and not is_learners and line not in solution:
            yield f"the stub says `{line.strip()}`, which the solution lacks there: one of them has drifted"
            return
