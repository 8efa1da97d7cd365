"""What one run came to: the answers, the state, and why it is wrong, if it is."""

from __future__ import annotations

import asyncio
from typing import Any

from deskbook.races._story.outcome import Failure, frozen


class RunResult:
    """What one run came to.

    Attributes:
        app: The subject of the run.
        responses: Name -> response, result or exception; missing where the request never ended.
        failure: Why the run is a counterexample, or None.
        state: What `observe` returned.
        cut: Why the run was ended before its end, so that it says nothing, or None.
        escaped: What was refused or ran without control; such a run is not judged.
    """

    __slots__ = ("app", "cut", "escaped", "failure", "responses", "state")

    def __init__(self) -> None:
        self.app: Any = None
        self.responses: dict[str, Any] = {}
        self.state: Any = None
        self.failure: Failure | None = None
        self.cut: str | None = None
        self.escaped: tuple[str, ...] = ()

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
