"""Runs a scenario in the controlled loop: one schedule, from a fresh subject to its judged result."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from .base_loop import EPOCH_S, entered
from .chooser import Chooser
from .errors import Deadlock, Livelock
from .garbage import NoCollection
from .lifespan import Lifespan
from .loop import ControlledLoop
from .outcome import Failure
from .run_result import RunResult, as_coroutine, result_of
from .scenario import Scenario
from .search import Follow
from .sources import RememberedSources
from .threads import ControlledThreads
from .virtual_time import VirtualTime


class Watcher(Protocol):
    """Looks at a run while it is recorded."""

    def subject(self, app: Any) -> None:
        """See the subject before its first request."""

    def ended(self, roots: Mapping[str, asyncio.Task[Any]]) -> None:
        """See the requests at the end, before they are cleaned up."""


class InProcess:
    """Runs a scenario in the controlled loop, as often as asked.

    Args:
        scenario: what to run.
        cancellable: names of requests that may be cancelled.
        explore_clock: whether the clock may move while a request could run.
        clock_jumps: further moves of the clock in seconds, each possible once at any step.
        max_steps: steps of one run after which it counts as a livelock.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        cancellable: Sequence[str] = (),
        explore_clock: bool = True,
        clock_jumps: Sequence[float] = (),
        max_steps: int = 2_000,
    ) -> None:
        unknown = [name for name in cancellable if name not in scenario.names]
        if unknown:
            raise ValueError(
                f"cancel names {unknown[0]!r}, which is not one of the requests {list(scenario.names)}"
            )
        self.scenario = scenario
        # mypy takes the methods that `base_loop` adds with setattr for missing ones.
        self.loop = ControlledLoop(  # type: ignore[abstract]
            max_steps=max_steps, explore_clock=explore_clock
        )
        self.ungated: set[str] = set()
        self.clock_was_held_back = False
        self.cancellable = tuple(cancellable)
        self._clock_jumps = tuple(clock_jumps)
        self.watcher: Watcher | None = None
        self._kept: Any = None
        self._kept_lifespan: Lifespan | None = None
        self.time = VirtualTime(self.loop, EPOCH_S)
        self._sources = RememberedSources()
        self._garbage = NoCollection()

    def run(
        self,
        chooser: Chooser,
        judge: Callable[[RunResult], Failure | None],
        *,
        only: Sequence[str] | None = None,
    ) -> RunResult:
        """Run once and judge; must be called with the loop `entered` and `time` patched.

        Args:
            chooser: decides every step.
            judge: looks at the result; called while the loop still runs, so it may use `call`.
            only: the requests to start, in this order; all by default.
        """
        loop = self.loop
        scenario = self.scenario
        self._garbage.between_runs()
        if self._kept is None:
            loop.reset()
        else:
            self._restart_kept()
        self.time.new_run()
        result = RunResult()
        lifespan: Lifespan | None = None
        try:
            app, lifespan = self._subject()
            result.app = app
            if self.watcher is not None:
                self.watcher.subject(app)
            state = lifespan.state if lifespan is not None else None
            names = scenario.names if only is None else only
            for name in names:
                loop.spawn(name, as_coroutine(scenario.start(name, app, state)))
            try:
                loop.run_requests(chooser, cancellable=self.cancellable, clock_jumps=self._clock_jumps)
            except Deadlock as error:
                result.failure = Failure("deadlock", str(error))
            except Livelock as error:
                result.failure = Failure("livelock", str(error))
            for name in names:
                task = loop.roots[name]
                if task.done():
                    result.responses[name] = result_of(task)
            if scenario.observe is not None:
                result.state = self.call(scenario.observe, app)
            if result.failure is None:
                result.failure = judge(result)
        finally:
            loop.exploring = False
            if self.watcher is not None:
                self.watcher.ended(loop.roots)
            if lifespan is not None and lifespan is not self._kept_lifespan:
                self._stop(lifespan)
            loop.finish()
            if loop.ungated:
                self.ungated.update(loop.ungated)
                loop.ungated.clear()
            if loop.clock_was_held_back:
                self.clock_was_held_back = True
        return result

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user's, which may be a coroutine function, outside the explored region."""
        value = function(*args)
        if inspect.isawaitable(value):
            return self.loop.run_setup(as_coroutine(value))
        return value

    @contextlib.contextmanager
    def in_control(self) -> Iterator[None]:
        """Enter everything that a run needs: the loop, the clock, the threads."""
        with entered(self.loop), ControlledThreads(), self.time, self._sources, self._garbage:
            yield

    def warm_up(self) -> None:
        """Run once for nothing: imports and caches that fill on first use make a first run another one."""
        self.run(Follow(), lambda result: None)

    def close(self) -> None:
        """Stop the subject that was kept."""
        if self._kept_lifespan is not None:
            self._stop(self._kept_lifespan)
            self.loop.finish()
            self._kept_lifespan = None

    def _restart_kept(self) -> None:
        loop = self.loop
        keep = [task for task in loop.tasks if not task.done()] if self._kept_lifespan is not None else []
        loop.reset()
        loop.tasks.extend(keep)

    def _subject(self) -> tuple[Any, Lifespan | None]:
        scenario = self.scenario
        if scenario.reset is None:
            app = self.call(scenario.make_app)
            return app, self._start(app)
        if self._kept is None:
            self._kept = self.call(scenario.make_app)
            self._kept_lifespan = self._start(self._kept)
        if scenario.reset_takes_app:
            self.call(scenario.reset, self._kept)
        else:
            self.call(scenario.reset)
        return self._kept, self._kept_lifespan

    def _start(self, app: Any) -> Lifespan | None:
        if not self.scenario.has_http:
            return None
        if not Lifespan.is_needed(app):
            return None
        lifespan = Lifespan(app)
        self.loop.run_setup(lifespan.start())
        return lifespan

    def _stop(self, lifespan: Lifespan) -> None:
        try:
            self.loop.run_setup(lifespan.stop())
        except (Deadlock, Livelock):
            return  # a worker that never ends is cancelled by `finish`
