"""What is missing in the folder of an exercise, or stray; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deskbook.practice.exercise.answers import is_unchanged
from deskbook.practice.exercise.cases import REJECTED_BY, cases
from deskbook.practice.exercise.definition import Exercise
from deskbook.practice.exercise.frame import frame_problems

LONGEST_STUB = 40
FEWEST_MINUTES, MOST_MINUTES = 5, 15
FEWEST_WRONG = 3
FEWEST_ALSO_RIGHT = 2
FEWEST_WORDS_OF_WHY = 20
HINT_LEVELS = 3

FILES = {"exercise.ipynb", "checks.py", "solution.py", "hints.toml"}
FOLDERS = {"also_right", "wrong"}

#: What an author writes where something is still to be done.
UNFINISHED = "TO DO"


def form_problems(exercise: Exercise) -> Iterator[str]:
    """Say what is missing in the folder of an exercise, or stray, each in one sentence."""
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
    if len(exercise.why.split()) < FEWEST_WORDS_OF_WHY:
        few = f"fewer than {FEWEST_WORDS_OF_WHY} words"
        yield f"solution.py says in {few} why it works; write two or three sentences"
    if is_unchanged(exercise.stub, exercise.solution):
        yield "the solution is the stub"
    yield from frame_problems(exercise)


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
        if not REJECTED_BY.match(path.read_text(encoding="utf-8")):
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
