"""The world's part of a schedule: the clock that may move, requests that may be cancelled, conditions."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

from . import frames
from .chooser import REQUEST
from .schedule import CLOCK, cancel_step
from .unexplored import UnexploredLoop


class EnvironmentLoop(UnexploredLoop):
    """A loop that knows which moves of the clock and which cancellations are possible now.

    Args:
        max_steps: steps of one run after which it counts as a livelock.
        explore_clock: whether the clock may move while a request could run.
    """

    def __init__(self, max_steps: int, *, explore_clock: bool) -> None:
        self.explore_clock = explore_clock
        self.forget_environment()
        super().__init__(max_steps)

    def forget_environment(self) -> None:
        """Forget the requests and what could happen to them."""
        self.clock_was_held_back = False
        self.roots: dict[str, asyncio.Task[Any]] = {}
        self._cancellable: list[str] = []
        self._clock_jumps: list[float] = []
        self._unstarted: set[str] = set()
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def wait_until(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """Return a future that is done as soon as `condition()` holds after a step."""
        future: asyncio.Future[None] = asyncio.Future(loop=self)
        self._conditions.append((condition, future))
        return future

    def _check_conditions(self) -> None:
        left = []
        for condition, future in self._conditions:
            if future.done():
                continue
            if condition():
                future.set_result(None)
            else:
                left.append((condition, future))
        self._conditions = left

    def _requests_left(self) -> bool:
        for task in self.roots.values():  # a plain loop: this is asked at most steps  # noqa: SIM110
            if not task.done():
                return True
        return False

    def _add_environment(self, options: list[str], runnable: bool) -> None:
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        if timers:
            if self.explore_clock or not runnable:
                options.append(CLOCK)
            else:
                self.clock_was_held_back = True
        if self._requests_left():
            options.extend(f"{CLOCK}+{jump:g}" for jump in dict.fromkeys(self._clock_jumps) if runnable)
            if options:
                options.extend(
                    cancel_step(name)
                    for name in self._cancellable
                    if name not in self._unstarted and not self.roots[name].done()
                )

    def _change_environment(self, step: str) -> None:
        if step == CLOCK:
            self._fire_next_timer()
        elif step.startswith(CLOCK):
            jump = next(jump for jump in self._clock_jumps if f"{CLOCK}+{jump:g}" == step)
            self._clock_jumps.remove(jump)
            self.advance(jump)
        else:
            name = step[7:-1]
            self._cancellable.remove(name)
            self.roots[name].cancel()

    def _children_left(self, runnable: bool) -> bool:
        """Tell whether work that requests left behind can still run, now or at a timer of theirs."""
        if runnable:
            return True
        return any(
            not handle.is_cancelled and handle.context is not None and handle.context.get(REQUEST) is not None
            for _, _, handle in self._timers
        )

    def _describe_blocked(self) -> str:
        waiting = [
            f"{name} at «{frames.position(task)}»" for name, task in self.roots.items() if not task.done()
        ]
        return "; ".join(waiting)
