"""Is the result of a run right? By the caller's invariant, or, without one, by the absence of crashes."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from typing import Any

from .in_process import InProcess
from .outcome import Failure
from .run_result import RunResult


def judge_with(runner: InProcess, check: Callable[..., Any] | None) -> Callable[[RunResult], Failure | None]:
    """Return a judge that calls the invariant, or, without one, refuses unhandled exceptions."""
    if check is None:
        return crash
    return functools.partial(_judge_invariant, runner, check)


def _judge_invariant(runner: InProcess, check: Callable[..., Any], result: RunResult) -> Failure | None:
    try:
        verdict = runner.call(check, result.app, result.responses)
    except AssertionError as error:
        return Failure("invariant", first_line(error) or "the invariant failed (an assert without a message)")
    except Exception as error:
        return Failure("invariant", f"the invariant raised {type(error).__name__}: {error}")
    return Failure("invariant", "the invariant returned False") if verdict is False else None


def first_line(error: AssertionError) -> str:
    """Return what the author wrote: pytest adds lines with the values, and with addresses that change."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(error).partition("\n")[0])


def crash(result: RunResult) -> Failure | None:
    """Refuse a run in which a request ended with an exception that nobody handled."""
    for name, response in result.responses.items():
        error = response if isinstance(response, BaseException) else None
        if error is None and hasattr(response, "extensions"):
            error = response.extensions.get("exception")
        if error is not None and not isinstance(error, asyncio.CancelledError):
            return Failure("crash", f"request {name} failed with {type(error).__name__}: {error}")
    return None
