"""The world's part of a run: the clock that may move, requests that may be cancelled, conditions."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._loop.virtual import Handle, VirtualLoop
from deskbook.races._schedule import CLOCK, Step
from deskbook.races._subject.actors import REQUEST

#: How often a timer of one place may fire before requests that could run, in one run. A heartbeat would
#: otherwise be let tick for ever before the first of them.
MAX_TICKS_OF_A_TIMER = 4
MAX_TICKS_OF_THE_APP = 2


class Environment:
    """What may happen to the requests of a run, apart from going on.

    Args:
        loop: The loop whose clock moves.
        explore_clock: Whether the clock may move while a request could run.

    Attributes:
        cancellations: Those that may still happen.
        jumps: Jumps of the clock that may still happen: the step, and the exact seconds.
        conditions: What somebody waits for: the condition, and the future that is done once it holds.
        clock_was_held_back: Whether a timer was pending at a moment when the clock was not allowed to move.
        clock_was_bounded: Whether a timer that repeats was not let fire early any more.
    """

    def __init__(self, loop: VirtualLoop, *, explore_clock: bool) -> None:
        self._loop = loop
        self._explore_clock = explore_clock
        self.cancellations: list[Step] = []
        self.jumps: list[tuple[Step, float]] = []
        self.conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.clock_was_held_back = False
        self.clock_was_bounded = False
        self._ticks: collections.Counter[object] = collections.Counter()

    def forget(self) -> None:
        """Forget the last run."""
        self.allow((), ())
        self.conditions.clear()
        self.clock_was_held_back = False
        self.clock_was_bounded = False
        self._ticks.clear()

    def allow(self, cancellable: Sequence[str], jumps_s: Sequence[float]) -> None:
        """Say what may happen in the next run.

        Args:
            cancellable: Requests whose task may be cancelled, once, at any step after its start.
            jumps_s: Seconds that the clock may jump, each once, at any step.
        """
        self.cancellations[:] = [Step.cancellation(name) for name in cancellable]
        self.jumps[:] = [(Step.jump(seconds), seconds) for seconds in jumps_s]

    def wait_until(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """Return a future that is done as soon as `condition()` holds after a step."""
        future = self._loop.create_future()
        self.conditions.append((condition, future))
        return future

    def check_conditions(self) -> None:
        """Let those go on whose condition holds now."""
        left = []
        for condition, future in self.conditions:
            if future.done():
                continue
            if condition():
                future.set_result(None)
            else:
                left.append((condition, future))
        self.conditions[:] = left

    def add_steps(
        self,
        options: list[Step],
        *,
        roots: Mapping[str, asyncio.Task[Any]],
        unstarted: Set[Step],
        requests_left: bool,
    ) -> None:
        """Add what may happen now to the steps that can be taken.

        Args:
            options: What could go on by itself; the steps of the environment are added at its end.
            roots: Request -> its task.
            unstarted: The requests that have not begun; these cannot be cancelled yet.
            requests_left: Whether any of the requests has not ended.
        """
        runnable = bool(options)
        if self._loop.has_timer():
            if not runnable or (self._explore_clock and not self._has_fired_enough()):
                options.append(CLOCK)
            elif not self._explore_clock:
                self.clock_was_held_back = True
        if not requests_left:
            return
        if runnable:
            options.extend(dict.fromkeys(step for step, _ in self.jumps))
        if options:
            options.extend(
                step
                for step in self.cancellations
                if Step.of(step.request) not in unstarted and not roots[step.request].done()
            )

    def _has_fired_enough(self) -> bool:
        """Tell whether the next timer belongs to something periodic, which would tick for ever."""
        if not self._ticks or max(self._ticks.values()) < MAX_TICKS_OF_THE_APP:
            return False
        is_of_a_request = bool(_request_of(self._loop.timers[0][2]))
        most = MAX_TICKS_OF_A_TIMER if is_of_a_request else MAX_TICKS_OF_THE_APP
        if self._ticks[self._owner_of_next_timer()] < most:
            return False
        self.clock_was_bounded = True
        return True

    def _owner_of_next_timer(self) -> object:
        """Return what the next timer lets go on: the place of a task, or the code of a callback."""
        handle = self._loop.timers[0][2]
        waited_for = handle.args[0] if handle.args else None
        if isinstance(waited_for, asyncio.Future):
            for task in self._loop.tasks:
                if not task.done() and getattr(task, "_fut_waiter", None) is waited_for:
                    return (task.get_name(), frames.position(task))
        function = getattr(handle.callback, "__func__", handle.callback)
        return (getattr(function, "__code__", function), _request_of(handle))

    def take(self, step: Step, roots: Mapping[str, asyncio.Task[Any]]) -> None:
        """Let a step of the environment happen."""
        if step.is_cancellation:
            self.cancellations.remove(step)
            roots[step.request].cancel()
        elif step is CLOCK:
            if self._loop.has_timer():
                self._ticks[self._owner_of_next_timer()] += 1
            self._loop.fire_next_timer()
        else:
            jump = next(jump for jump in self.jumps if jump[0] is step)
            self.jumps.remove(jump)
            self._loop.advance(jump[1])


def _request_of(handle: Handle) -> str:
    """Return the request in whose context a callback was queued, or "" for one of the application."""
    return (handle.context.get(REQUEST) if handle.context is not None else None) or ""
