# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Tasks that outlive the request that started them: none vanishes, none fails unheard, none outlives the app.

Use it for work that the client need not wait for and that may be lost in a crash: refresh a cache, send a
metric, warm a connection. `asyncio.create_task` alone is a trap: the loop holds tasks weakly, so one that
nobody keeps may disappear in the middle, its error is told when it is collected, if ever, and at shutdown it
is cut off wherever it is.

Do not use it for what must happen (an order, a mail): that goes into the database first (`outbox`,
`skip_locked_queue`). Nor for work whose result is awaited: that is a `TaskGroup`.

Limits: one process and one event loop. More than `max_tasks` are refused and not queued, because a queue of
losable work only hides that it is too much. A task must not use what belongs to the request, such as its
database session; it does inherit its context variables. A task that ignores its cancellation is left behind.

Instead: `aiojobs` queues what is above its limit (10,000 unless told) and gives tasks 0.1 s to clean up.
FastAPI's `BackgroundTasks` run one after the other, and the first that fails ends the rest.

Example:
    >>> async def service() -> None:
    ...     async def refresh(symbol: str) -> None:
    ...         await asyncio.sleep(0.01)
    ...         print(symbol, "is fresh")
    ...     async with TaskRegistry(max_tasks=100, finish_s=5) as tasks:  # in the lifespan
    ...         tasks.start(refresh("AAPL"))  # in a request
    ...         print("replied")
    >>> asyncio.run(service())
    replied
    AAPL is fresh

Source: Python documentation, `asyncio.create_task`, "Save a reference to the result of this function".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Self

logger = logging.getLogger(__name__)


class NotStarted(Exception):
    """The task was not started: too many run, or the service is closing."""


class TaskRegistry:
    """Owns tasks from their start to their end; an async context manager for the lifespan.

    Args:
        max_tasks: How many may run at once; 0 refuses all.
        finish_s: Seconds that leaving the context waits for tasks before it cancels them.
        cancel_s: Seconds that it then waits for their clean-up.

    Attributes:
        started: How many tasks were started.
        failed: How many of them raised.
        cancelled: How many of them ended as cancelled.
        refused: How many were not started.
        abandoned: Tasks that ignored their cancellation at the end.
    """

    def __init__(self, *, max_tasks: int, finish_s: float, cancel_s: float = 1.0) -> None:
        self._max_tasks = max_tasks
        self._finish_s = finish_s
        self._cancel_s = cancel_s
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.started = self.failed = self.cancelled = self.refused = self.abandoned = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        """Start a coroutine as a task; what it raises is logged under its name.

        Args:
            work: Closed if it is refused.
            name: For the log; without it that of the coroutine.

        Raises:
            NotStarted: It does not run, and never will.
        """
        if self._closed or len(self._tasks) >= self._max_tasks:
            work.close()  # else Python warns that it was never awaited
            self.refused += 1
            raise NotStarted("the service is closing" if self._closed else f"{self._max_tasks} tasks run")
        task = asyncio.create_task(work, name=name or getattr(work, "__qualname__", None))
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._ended)
        self.started += 1
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self.cancelled += 1
        elif (error := task.exception()) is not None:
            self.failed += 1
            logger.error("the task %s failed", task.get_name(), exc_info=error)

    async def __aenter__(self) -> Self:
        self._closed = False
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        # First of all: a task that starts another one while we wait would be forgotten.
        self._closed = True
        try:
            if self._tasks:
                await asyncio.wait(set(self._tasks), timeout=self._finish_s)
        finally:  # also when the wait itself is cancelled, because the server has lost its patience
            for task in self._tasks:
                task.cancel()
            left = set(self._tasks)
            if left:  # what has ended may still be in self._tasks: its callback comes later
                _, left = await asyncio.wait(left, timeout=self._cancel_s)
            if left:
                self.abandoned = len(left)
                names = ", ".join(sorted(it.get_name() for it in left))
                logger.error("tasks ignore their cancellation: %s", names)
