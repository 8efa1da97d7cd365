"""Runs a scenario in the controlled loop: one schedule, from a fresh subject to its judged result."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from deskbook.races._errors import CutShort, Deadlock, Livelock
from deskbook.races._loop.bystanders import Bystanders
from deskbook.races._loop.controlled import ControlledLoop
from deskbook.races._loop.garbage import NoCollection
from deskbook.races._loop.sources import RememberedSources
from deskbook.races._loop.stubs import SuspendingStubs, UnsuspendedAwaits
from deskbook.races._loop.threads import ControlledThreads
from deskbook.races._loop.virtual import EPOCH_S, entered
from deskbook.races._loop.virtual_time import VirtualTime
from deskbook.races._search.chooser import Chooser
from deskbook.races._search.frontier import Follow
from deskbook.races._search.judges import Judge, failure_of_error, failure_of_value
from deskbook.races._story.outcome import Failure
from deskbook.races._story.run_result import RunResult, result_of
from deskbook.races._subject.lifespan import Lifespan
from deskbook.races._subject.scenario import Check, Scenario, around_the_requests, as_coroutine


class Watcher(Protocol):
    """Looks at a run while it is recorded."""

    def subject(self, app: Any) -> None:
        """See the subject before its first request."""

    def ended(self, roots: Mapping[str, asyncio.Task[Any]]) -> None:
        """See the requests at the end, before they are cleaned up."""


class InProcess:
    """Runs a scenario in the controlled loop, as often as asked.

    Args:
        scenario: What to run.
        cancellable: Names of requests that may be cancelled.
        explore_clock: Whether the clock may move while a request could run.
        clock_jumps: Further moves of the clock in seconds, each possible once at any step.
        max_steps: Steps of one run after which it counts as a livelock.

    Attributes:
        ungated: What was refused because it would have done real I/O.
        clock_was_held_back: Whether the clock could have moved at a moment when it was not allowed to.
        was_bounded: Whether something that goes on for ever was followed for some rounds only.
        clients_left: Whether the client of an endless stream left because nothing else could happen.
        bystanders: Notices threads of the service's own.
        unsuspended: The awaits of the service that let nobody else run.
        watcher: Looks at the runs, or None.
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
        scenario.check_cancellable(cancellable)
        self.scenario = scenario
        # mypy takes the methods that `virtual` adds with setattr for missing ones.
        self.loop = ControlledLoop(  # type: ignore[abstract]
            max_steps=max_steps, explore_clock=explore_clock
        )
        self.loop.on_idle = self._let_clients_leave
        self.ungated: set[str] = set()
        self.clock_was_held_back = False
        self.was_bounded = False
        self.clients_left = False
        self._cancellable = tuple(cancellable)
        self._clock_jumps = tuple(clock_jumps)
        self.watcher: Watcher | None = None
        self._kept: Any = None
        self._kept_lifespan: Lifespan | None = None
        self._time = VirtualTime(self.loop, EPOCH_S)
        self._sources = RememberedSources()
        self._garbage = NoCollection()
        self.bystanders = Bystanders()
        self.unsuspended = UnsuspendedAwaits()
        self._stubs = SuspendingStubs()

    def run(
        self,
        chooser: Chooser,
        judge: Judge,
        *,
        order: Sequence[str] | None = None,
        seed: int = 0,
        is_watched: bool = False,
    ) -> RunResult:
        """Run once and judge; must be called inside of `in_control`.

        A run that was cut, or in which something was refused or ran without control, is not judged.

        Args:
            chooser: Decides every step.
            judge: Looks at the result; called while the loop still runs, so it may use `call`.
            order: The requests to start, in this order, none of which is cancelled. By default all of them
                are started.
            seed: For random numbers, and for the moment at which the clock starts.
            is_watched: Whether awaits that never suspend are looked for.
        """
        loop = self.loop
        scenario = self.scenario
        self._garbage.between_runs()
        if self._kept is None:
            loop.reset()
        else:
            self._restart_kept()
        self._time.new_run(seed)
        result = RunResult()
        lifespan: Lifespan | None = None
        try:
            with around_the_requests("what is around the requests"):
                app, lifespan = self._subject()
            result.app = app
            if self.watcher is not None:
                self.watcher.subject(app)
            state = lifespan.state if lifespan is not None else None
            names = scenario.names if order is None else order
            cancellable = self._cancellable if order is None else ()
            if scenario.setup:
                with around_the_requests("the set-up"):
                    loop.run_setup(scenario.set_up(app, state))
            for name in names:
                loop.spawn(name, scenario.start(name, app, state))
            try:
                with self.unsuspended if is_watched else contextlib.nullcontext():
                    loop.run_requests(chooser, cancellable=cancellable, jumps_s=self._clock_jumps)
            except Deadlock as error:
                result.failure = Failure("deadlock", str(error))
            except Livelock as error:
                result.failure = Failure("livelock", str(error))
            except CutShort as error:
                result.cut = str(error)
            if loop.blocked is not None:
                result.failure = Failure("blocked loop", loop.blocked)
            result.escaped = tuple(loop.ungated)
            for name in names:
                task = loop.roots[name]
                if task.done():
                    result.responses[name] = result_of(task)
            if scenario.observe is not None:
                with around_the_requests("observe"):
                    result.state = self.call(scenario.observe, app)
            if result.escaped or result.cut is not None:
                result.failure = None
            elif result.failure is None:
                result.failure = judge(result)
        finally:
            loop.exploring = False
            self.bystanders.look()
            if self.watcher is not None:
                self.watcher.ended(loop.roots)
            if lifespan is not None and lifespan is not self._kept_lifespan:
                self._stop(lifespan)
            loop.finish()
            if loop.ungated:
                self.ungated.update(loop.ungated)
                loop.ungated.clear()
            if loop.environment.clock_was_held_back:
                self.clock_was_held_back = True
            self.was_bounded |= loop.environment.clock_was_bounded or loop.repeats_at_the_end
        return result

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user's, which may be a coroutine function, outside the explored region."""
        value = function(*args)
        if inspect.isawaitable(value):
            return self.loop.run_setup(as_coroutine(value))
        return value

    def judge_by(self, check: Check) -> Judge:
        """Return a judge that calls the caller's invariant."""

        def judge(result: RunResult) -> Failure | None:
            try:
                value = self.call(check, result.app, result.responses)
            except Exception as error:
                return failure_of_error(error)
            return failure_of_value(value)

        return judge

    @contextlib.contextmanager
    def in_control(self) -> Iterator[None]:
        """Enter everything that a run needs: the loop, the clock, the threads."""
        with entered(self.loop), ControlledThreads(), self._time, self._sources, self._garbage, self._stubs:
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
            app = self._make()
            return app, self._start(app)
        if self._kept is None:
            self._kept = self._make()
            self._kept_lifespan = self._start(self._kept)
        with around_the_requests("reset"):
            if scenario.reset_takes_app:
                self.call(scenario.reset, self._kept)
            else:
                self.call(scenario.reset)
        return self._kept, self._kept_lifespan

    def _make(self) -> Any:
        with around_the_requests("make_app"):
            app = self.call(self.scenario.make_app)
        self.scenario.check_subject(app)
        return app

    def _let_clients_leave(self) -> bool:
        """Let the clients of streams go when nothing else can happen; tell whether there was one."""
        left = [name for name, task in self.loop.roots.items() if not task.done()]
        found = [stream for name in left for stream in self.scenario.open_streams(name)]
        for stream in found:
            stream.leave()
        self.clients_left |= bool(found)
        return bool(found)

    def _start(self, app: Any) -> Lifespan | None:
        lifespan = self.scenario.lifespan_of(app)
        if lifespan is not None:
            with around_the_requests("the startup (lifespan)"):
                self.loop.run_setup(lifespan.start())
            self.scenario.hand_on(app, lifespan.state)
        return lifespan

    def _stop(self, lifespan: Lifespan) -> None:
        try:
            self.loop.run_setup(lifespan.stop())
        except (Deadlock, Livelock):
            return  # a worker that never ends is cancelled by `finish`
