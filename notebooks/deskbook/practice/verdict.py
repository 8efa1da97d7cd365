"""From what the worker tells to one of five states; decided here, out of the answer's reach."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from .answers import FIRST_LINE, is_unchanged
from .client import Client
from .errors import PracticeError
from .exercise import Exercise

State = Literal["not attempted", "wrong", "error", "too slow", "passed"]

_FRAME = re.compile(r'File "<your answer>", line (\d+)')


@dataclass(frozen=True)
class Verdict:
    """What is to be said about one answer.

    Attributes:
        exercise: The exercise.
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
    pictures: tuple[dict[str, str], ...] = ()
    output: str = ""
    output_bytes: int = 0
    source: str = ""


def submit(
    exercise: Exercise,
    source: str,
    client: Client,
    *,
    first_line: int = FIRST_LINE,
    even_if_unchanged: bool = False,
) -> Verdict:
    """Check one answer.

    Args:
        exercise: The exercise.
        source: The answer, without the line `%%exercise`.
        client: Knows the worker.
        first_line: Number of the answer's first line, for messages.
        even_if_unchanged: Run the stub too, as `verify` does.

    Raises:
        PracticeError: The checks themselves are broken, or there is no worker to be had.
    """
    if is_unchanged(exercise.stub, source) and not even_if_unchanged:
        return Verdict(exercise, "not attempted", failing=exercise.stub_fails, source=source)
    return judge(exercise, source, client.check(exercise, source, first_line), first_line)


def judge(exercise: Exercise, source: str, result: dict[str, Any], first_line: int = FIRST_LINE) -> Verdict:
    """Read what the worker tells about an answer.

    An answer has passed if every check of the exercise is reported as passed and the run came to its end:
    whatever ends the process earlier is no pass.
    """
    news: dict[str, Any] = {"passed": [], "running": "", "failed": None}
    for item in result["news"]:
        _note(news, item)
    if news.get("broken"):
        raise PracticeError(f"The checks of {exercise.name} are broken, not your answer: {news['broken']}")
    common: dict[str, Any] = {
        "passed": tuple(news["passed"]),
        "output": result["output"],
        "output_bytes": result["output_bytes"],
        "source": source,
    }
    running = news["running"] if news["running"] != "answer" else ""
    failed = news["failed"]
    if failed is not None:
        lines = tuple((number, text or _line(source, number, first_line)) for number, text in failed["lines"])
        return Verdict(
            exercise,
            failed["state"],
            failing=failed["check"],
            message=failed["message"],
            facts=failed["facts"],
            lines=lines,
            pictures=tuple(failed["pictures"]),
            **common,
        )
    if result["late"]:
        numbers = dict.fromkeys(int(number) for number in _FRAME.findall(result["stacks"]))
        lines = tuple((number, _line(source, number, first_line)) for number in numbers)
        return Verdict(exercise, "too slow", failing=running, lines=lines, **common)
    if not news.get("finished"):
        return Verdict(exercise, "error", failing=running, message=_how_it_ended(result["signal"]), **common)
    missing = [check.name for check in exercise.checks if check.name not in news["passed"]]
    if missing:
        return Verdict(exercise, "wrong", failing=missing[0], message="This check was left out.", **common)
    return Verdict(exercise, "passed", **common)


def _note(news: dict[str, Any], item: dict[str, Any]) -> None:
    news.update({key: item[key] for key in ("running", "finished", "broken") if key in item})
    if item.get("outcome") == "passed":
        if item["test"] not in news["passed"]:  # a parametrised test passes once for each case
            news["passed"].append(item["test"])
    elif "test" in item:
        if item["test"] in news["passed"]:
            news["passed"].remove(item["test"])
        state = "error" if item["outcome"] == "error" else "wrong"
        news["failed"] = _failure(state, item["test"], item)
    elif "error" in item:
        news["failed"] = _failure("error", "", item["error"])
    elif "replaced" in item and news["failed"] is None:
        names = ", ".join(f"`{name}`" for name in item["replaced"])
        message = (
            f"Your answer replaces {names} for the whole program, the checks included. Call it, or wrap it."
        )
        news["failed"] = _failure("error", "", {"message": message})


def _failure(state: str, check: str, item: dict[str, Any]) -> dict[str, Any]:
    return {
        "state": state,
        "check": check,
        "message": item.get("message", ""),
        "facts": {key: item[key] for key in ("given", "expected", "got") if key in item},
        "lines": [tuple(line) for line in item.get("lines", [])],
        "pictures": item.get("pictures", []),
    }


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
