"""What runs around the requests, unexplored: startup, reset, check, and the cleaning up after a run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from .base_loop import VirtualLoop
from .errors import Deadlock, Livelock
from .steps import is_unstarted


class UnexploredLoop(VirtualLoop):
    """A virtual loop that can run everything that is ready, in the order of asyncio.

    Args:
        max_steps: steps of one run after which it counts as a livelock.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self.exploring = False
        super().__init__()

    def run_setup(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end in the order of asyncio, with nothing explored.

        Raises:
            Deadlock: if it waits for something that never comes.
        """
        self.exploring = False
        task = self.create_task(coroutine)
        budget = 100 * self.max_steps
        while not task.done():
            if not self._run_everything_ready() and not self._fire_next_timer():
                self._forget(task)
                raise Deadlock("the code around the requests (startup, reset, check) waits for ever")
            budget -= 1
            if budget < 0:
                self._forget(task)
                raise Livelock("the code around the requests (startup, reset, check) never finishes")
        return task.result()

    def finish(self) -> None:
        """Cancel what is left of the run and let it end, so that nothing of it reaches the next one."""
        self.exploring = False
        for _ in range(20):
            # A task that is cancelled before its first step leaves a coroutine behind that was never awaited.
            if not any(not task.done() and is_unstarted(task) for task in self.tasks):
                break
            self._run_everything_ready()
        for _ in range(3):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            self._requeue()
            for _ in range(200):
                if not self._run_everything_ready():
                    break
        if self.generators:
            self._close_generators()
        for task in self.tasks:
            if not task.done():
                self._forget(task)
            elif not task.cancelled():
                task.exception()  # mark it as seen: asyncio would log "never retrieved"

    def _close_generators(self) -> None:
        for generator in list(self.generators):
            if not generator.ag_running:
                self.create_task(generator.aclose())
        for _ in range(50):
            if not self._run_everything_ready():
                break
        self.generators.clear()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        task._log_destroy_pending = False  # type: ignore[attr-defined]

    def _requeue(self) -> None:
        """Give back what an explored run held ready."""

    def _run_everything_ready(self) -> bool:
        """Run what is queued now, in order; tell whether there was anything."""
        self._requeue()
        batch = list(self._incoming)
        self._incoming.clear()
        for handle in batch:
            if not handle.is_cancelled:
                self._run(handle)
        return bool(batch)
