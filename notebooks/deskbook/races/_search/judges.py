"""Is the result of a run right? By the caller's invariant, or, without one, by the absence of crashes.

How an invariant is called depends on where the run took place, so the searches do that; what its answer means
stands here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

from deskbook.races._search.oracles import Serializable
from deskbook.races._story.outcome import Failure
from deskbook.races._story.run_result import RunResult
from deskbook.races._subject.scenario import Check

#: Says why a run is wrong, or None if it is right.
Judge = Callable[[RunResult], Failure | None]


def judge_without_check(check: Check | None, oracle: Serializable | None) -> Judge | None:
    """Return what is judged without asking the caller, or None if that is nothing.

    Args:
        check: The caller's invariant.
        oracle: The rule that every outcome must equal that of a sequential order.
    """
    if oracle is not None:
        return oracle.judge
    return crash if check is None else None


def failure_of_error(error: Exception) -> Failure:
    """Return what it means that an invariant raised."""
    if isinstance(error, AssertionError):
        return Failure("invariant", first_line(error) or "the invariant failed (an assert without a message)")
    return Failure("invariant", f"the invariant raised {type(error).__name__}: {error}")


def failure_of_value(value: object) -> Failure | None:
    """Return what it means that an invariant returned; only False is a failure."""
    return Failure("invariant", "the invariant returned False") if value is False else None


def first_line(error: AssertionError) -> str:
    """Return what the author wrote: pytest adds lines with the values, and with addresses that change."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(error).partition("\n")[0])


def _each_answer(result: RunResult) -> Iterator[tuple[str, Any]]:
    """Yield what was answered, one by one for a client that sent several requests."""
    for name, value in result.responses.items():
        yield from ((name, answer) for answer in (value if isinstance(value, list) else [value]))


def crash(result: RunResult) -> Failure | None:
    """Refuse a run in which a request ended with an exception that nobody handled."""
    for name, response in _each_answer(result):
        error = response if isinstance(response, BaseException) else None
        if error is None and hasattr(response, "extensions"):
            error = response.extensions.get("exception")
        if error is not None and not isinstance(error, asyncio.CancelledError):
            return Failure("crash", f"request {name} failed with {type(error).__name__}: {error}")
    return None
