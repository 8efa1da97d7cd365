"""From what the worker tells to one of five states; decided here, out of the answer's reach."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from deskbook.practice.checking.protocol import ANSWER, News, Outcome, Picture, Problem
from deskbook.practice.errors import PracticeError
from deskbook.practice.exercise.answers import FIRST_LINE
from deskbook.practice.exercise.definition import Exercise

State = Literal["not attempted", "wrong", "error", "too slow", "passed"]

_FRAME = re.compile(r'File "<your answer>", line (\d+)')


@dataclass(frozen=True)
class Verdict:
    """What is to be said about one answer.

    Attributes:
        exercise: What it is an answer to.
        state: "not attempted", "wrong", "error" (in the answer), "too slow" or "passed".
        passed: Names of the checks that passed.
        failing: Name of the check that the answer failed at, or "".
        message: What the check or the exception says.
        facts: What was given, what came back, what was expected.
        lines: (number, text) of the learner's lines that an exception went through, or that ran at the end.
        pictures: Interleavings, each as `html` and `text`.
        output: What the answer printed, cut.
        output_bytes: How much it printed.
        source: The answer.
    """

    exercise: Exercise
    state: State
    passed: tuple[str, ...] = ()
    failing: str = ""
    message: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    lines: tuple[tuple[int, str], ...] = ()
    pictures: tuple[Picture, ...] = ()
    output: str = ""
    output_bytes: int = 0
    source: str = ""


def judge(exercise: Exercise, source: str, outcome: Outcome, first_line: int = FIRST_LINE) -> Verdict:
    """Read what the worker tells about an answer.

    An answer has passed if every check of the exercise is reported as passed and the run came to its end:
    whatever ends the process earlier is no pass.

    Raises:
        PracticeError: The checks themselves are broken.
    """
    run = _Run()
    for news in outcome["news"]:
        run.take_in(news)
    if run.broken:
        raise PracticeError(f"The checks of {exercise.name} are broken, not your answer: {run.broken}")
    common: _Common = {
        "passed": tuple(run.passed),
        "output": outcome["output"],
        "output_bytes": outcome["output_bytes"],
        "source": source,
    }
    if run.failure is not None:
        failure = run.failure
        lines = tuple((number, text or _line(source, number, first_line)) for number, text in failure.lines)
        return Verdict(
            exercise,
            failure.state,
            failing=failure.check,
            message=failure.message,
            facts=failure.facts,
            lines=lines,
            pictures=tuple(failure.pictures),
            **common,
        )
    running = run.running if run.running != ANSWER else ""
    if outcome["late"]:
        numbers = dict.fromkeys(int(number) for number in _FRAME.findall(outcome["stacks"]))
        lines = tuple((number, _line(source, number, first_line)) for number in numbers)
        return Verdict(exercise, "too slow", failing=running, lines=lines, **common)
    if not run.is_finished:
        ended = _how_it_ended(outcome["signal"])
        return Verdict(exercise, "error", failing=running, message=ended, **common)
    missing = [check.name for check in exercise.checks if check.name not in run.passed]
    if missing:
        return Verdict(exercise, "wrong", failing=missing[0], message="This check was left out.", **common)
    return Verdict(exercise, "passed", **common)


class _Common(TypedDict):
    """What every verdict on an answer that ran holds."""

    passed: tuple[str, ...]
    output: str
    output_bytes: int
    source: str


@dataclass
class _Failure:
    """Why an answer is not right: in a check, or before the first one."""

    state: Literal["wrong", "error"]
    check: str
    message: str
    lines: list[tuple[int, str]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)


@dataclass
class _Run:
    """What is known of a run, news by news."""

    passed: list[str] = field(default_factory=list)
    running: str = ""
    failure: _Failure | None = None
    broken: str = ""
    is_finished: bool = False

    def take_in(self, news: News) -> None:
        """Add one piece of news."""
        match news["kind"]:
            case "running":
                self.running = news["what"]
            case "passed":
                if news["test"] not in self.passed:  # a parametrised test passes once for each case
                    self.passed.append(news["test"])
            case "failed":
                if news["test"] in self.passed:
                    self.passed.remove(news["test"])
                self.failure = _failure(news["state"], news["test"], news["problem"])
                self.failure.facts, self.failure.pictures = news["facts"], news["pictures"]
            case "refused":
                self.failure = _failure("error", "", news["problem"])
            case "replaced":
                if self.failure is None:
                    self.failure = _Failure("error", "", _replacing(news["names"]))
            case "broken":
                self.broken = news["reason"]
            case "finished":
                self.is_finished = True
            case "ready":
                pass


def _failure(state: Literal["wrong", "error"], check: str, problem: Problem) -> _Failure:
    return _Failure(state, check, problem["message"], [(number, text) for number, text in problem["lines"]])


def _replacing(names: list[str]) -> str:
    quoted = ", ".join(f"`{name}`" for name in names)
    return f"Your answer replaces {quoted} for the whole program, the checks included. Call it, or wrap it."


def _line(source: str, number: int, first_line: int) -> str:
    lines = source.splitlines()
    index = number - first_line
    return lines[index].strip() if 0 <= index < len(lines) else ""


def _how_it_ended(signal_number: int) -> str:
    if signal_number == 9:
        return "Your answer was stopped: it started too many processes, or took too much memory."
    if signal_number:
        return f"Your answer crashed Python (signal {signal_number})."
    return "Your answer ended the whole program before the checks were done. Is there an `os._exit`?"
