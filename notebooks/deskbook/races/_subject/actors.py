"""Who acts: the request that a piece of work belongs to, and the names of the tasks that requests start."""

from __future__ import annotations

import contextvars
from typing import Any

from deskbook.races._schedule import Step, letters

#: The request that a piece of work belongs to; tasks inherit it from the task that creates them.
REQUEST: contextvars.ContextVar[str | None] = contextvars.ContextVar("deskbook_races_request", default=None)


class Actors:
    """The actors of one run: a request is named by the caller, its tasks by the order in which they act.

    Attributes:
        steps: Task or callback -> the step that lets it go on.
        last_child: Request -> number of the task that was named last; requests without tasks are missing.
    """

    __slots__ = ("last_child", "steps")

    def __init__(self) -> None:
        self.steps: dict[Any, Step] = {}
        self.last_child: dict[str, int] = {}

    def forget(self) -> None:
        """Forget all actors of the last run."""
        self.steps.clear()
        self.last_child.clear()

    def add(self, task: Any, request: str) -> Step:
        """Name the task of a request itself."""
        step = self.steps[task] = Step.of(request)
        return step

    def step_of(self, owner: Any, request: str) -> Step:
        """Return the step of a task or callback, named `A.a`, `A.b`, ... when it is asked for first."""
        step = self.steps.get(owner)
        if step is None:
            number = self.last_child[request] = self.last_child.get(request, -1) + 1
            step = self.steps[owner] = Step.of(f"{request}.{letters(number)}")
        return step
