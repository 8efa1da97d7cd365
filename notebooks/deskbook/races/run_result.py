"""What one run came to, and the small steps from tasks to it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

from .outcome import Failure, frozen


class RunResult:
    """What one run came to.

    Attributes:
        responses: name -> response, result or exception; missing where the request never ended.
        failure: why the run is a counterexample, or None.
        state: what `observe` returned.
    """

    __slots__ = ("app", "failure", "responses", "state")

    def __init__(self) -> None:
        self.app: Any = None
        self.responses: dict[str, Any] = {}
        self.state: Any = None
        self.failure: Failure | None = None

    def outcome(self) -> Any:
        """Return the responses and the state in comparable form."""
        return (tuple((name, frozen(value)) for name, value in self.responses.items()), frozen(self.state))


def result_of(task: asyncio.Task[Any]) -> Any:
    """Return the result of a finished task, or its exception."""
    if task.cancelled():
        return asyncio.CancelledError()
    error = task.exception()
    if error is None:
        return task.result()
    # Without its traceback: the frames of a failed run would be kept alive as long as the report.
    error.__traceback__ = None
    return error


def as_coroutine(awaitable: Awaitable[Any]) -> Any:
    """Return an awaitable as something that a task can be made of."""
    if inspect.iscoroutine(awaitable):
        return awaitable
    return _await(awaitable)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
