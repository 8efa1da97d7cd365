"""Runs one schedule against real servers: one operation at a time, each to its known effect."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from deskbook.races._errors import Diverged
from deskbook.races._gates.awaits import HeldAwaits
from deskbook.races._gates.base import Gate, Operation, Table
from deskbook.races._gates.cleanup import finish
from deskbook.races._gates.standstill import Standstill
from deskbook.races._gates.timers import HeldTimers
from deskbook.races._gates.worker_threads import ThreadWatch
from deskbook.races._schedule import CLOCK, Step
from deskbook.races._search.chooser import Chooser
from deskbook.races._search.judges import Judge
from deskbook.races._story.outcome import Failure
from deskbook.races._story.run_result import RunResult, result_of
from deskbook.races._subject.actors import REQUEST
from deskbook.races._subject.lifespan import Lifespan
from deskbook.races._subject.scenario import Scenario, around_the_requests

#: The label of the first operation of a request, which stands for its start.
_START = "start"

#: How often a timer fires at one place of a run while others could go on; after that it is their turn.
_EARLY_TICKS = 2
#: How often it fires at one place where nothing else can go on, and after the last request.
_TICKS, _TAIL_TICKS = 200, 3

#: A judge that may ask the server.
AsyncJudge = Callable[[RunResult], Awaitable[Failure | None]]

#: Notes a step while a run is recorded: the step, what was sent, and who blocks it.
OnStep = Callable[[Step, str, str], Awaitable[None]]


class GatedRunner:
    """Runs a scenario with its server operations under control, on the loop that is running.

    Args:
        scenario: What to run.
        gate: What stops the operations.
        cancellable: Names of requests that may be cancelled.
        explore_clock: Whether a timer may fire while a request could go on.
        max_steps: Steps of one run after which it is given up.

    Attributes:
        app: The subject of the present run.
        roots: Request -> its task.
        standstill: Waits for the effect of a step.
        bounds: What was left out, each as words that say which interleavings were tried.
        on_step: Notes the steps while a run is recorded.
    """

    def __init__(
        self,
        scenario: Scenario,
        gate: Gate,
        cancellable: Sequence[str] = (),
        *,
        explore_clock: bool = True,
        max_steps: int = 2_000,
    ) -> None:
        scenario.check_cancellable(cancellable)
        self.scenario = scenario
        self.gate = gate
        self.standstill = Standstill(gate)
        self.roots: dict[str, asyncio.Task[Any]] = {}
        self.on_step: OnStep | None = None
        self.app: Any = None
        self.bounds: set[str] = set()
        self._cancellable = tuple(cancellable)
        self._explore_clock = explore_clock
        self._max_steps = max_steps
        self._symmetry: tuple[tuple[Step, ...], ...] = ()
        self._table = Table()
        self._kept: Any = None
        self._kept_lifespan: Lifespan | None = None

    def set_symmetry(self, groups: Sequence[Sequence[str]]) -> None:
        """Name requests that are identical (see `symmetry`)."""
        self._symmetry = tuple(tuple(Step.of(name) for name in names) for names in groups)

    def place_of(self, step: Step) -> object:
        """Return what an actor is about to send."""
        operation = self._table.waiting.get(step)
        return step if operation is None else operation.label

    async def run(
        self,
        chooser: Chooser,
        judge: Judge | AsyncJudge,
        *,
        order: Sequence[str] | None = None,
    ) -> RunResult:
        """Run once and judge.

        Args:
            chooser: Decides every step.
            judge: Looks at the result; it may be a coroutine function.
            order: The requests to start, in this order, none of which is cancelled. By default all of them
                are started.

        Raises:
            Diverged: If an operation neither returned nor was blocked, or something moved by itself.
        """
        scenario, result = self.scenario, RunResult()
        with around_the_requests("what is around the requests (make_app, reset, startup)"):
            app, lifespan = await self._subject()
        scenario.check_subject(app)
        result.app = self.app = app
        state = lifespan.state if lifespan is not None else None
        with around_the_requests("the set-up"):
            await scenario.set_up(app, state)
        before = asyncio.all_tasks()
        names = scenario.names if order is None else order
        table = self._table = self.gate.table = Table(gated_packages=self.gate.packages)
        loop = asyncio.get_running_loop()
        timers, threads, awaits = HeldTimers(loop), ThreadWatch(loop), HeldAwaits(loop, self.gate)
        self._timers = timers
        timers.install()
        threads.install(table)
        awaits.install(table)
        self.roots = {name: self._spawn(name, app, state, table) for name in names}
        self.standstill.watch(table, self.roots)
        try:
            try:
                result.failure = await self._drive(chooser, self._cancellable if order is None else ())
            finally:
                self.gate.table = None
                awaits.remove()
                timers.remove()
                threads.remove()
                self.standstill.notes |= table.ungated
            for name, task in self.roots.items():
                if task.done():
                    result.responses[name] = result_of(task)
            if scenario.observe is not None:
                result.state = await self.call(scenario.observe, app)
            if result.failure is None:
                found = judge(result)
                result.failure = await found if inspect.isawaitable(found) else found
        finally:
            await finish(table, list(self.roots.values()), before)
            await self.gate.wait_until_freed()
            if lifespan is not None and lifespan is not self._kept_lifespan:
                await lifespan.stop()
        return result

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user's, which may be a coroutine function."""
        value = function(*args)
        return await value if inspect.isawaitable(value) else value

    async def close(self) -> None:
        """Stop the subject that was kept."""
        if self._kept_lifespan is not None:
            await self._kept_lifespan.stop()

    async def _subject(self) -> tuple[Any, Lifespan | None]:
        scenario = self.scenario
        if scenario.reset is None:
            app = await self.call(scenario.make_app)
            return app, await self._start(app)
        if self._kept is None:
            self._kept = await self.call(scenario.make_app)
            self._kept_lifespan = await self._start(self._kept)
        await self.call(scenario.reset, *([self._kept] if scenario.reset_takes_app else []))
        return self._kept, self._kept_lifespan

    async def _start(self, app: Any) -> Lifespan | None:
        lifespan = self.scenario.lifespan_of(app)
        if lifespan is not None:
            await lifespan.start()
        return lifespan

    def _spawn(self, name: str, app: Any, state: Any, table: Table) -> asyncio.Task[Any]:
        context = contextvars.copy_context()
        context.run(REQUEST.set, name)

        async def request() -> Any:
            start = Operation(Step.of(name), _START, None, None, asyncio.get_running_loop().create_future())
            await self.gate.wait_for_turn(table, start)
            self.gate.ended(table, start)
            return await self.scenario.start(name, app, state)

        task = asyncio.get_running_loop().create_task(request(), name=name, context=context)
        task.add_done_callback(lambda _: table.changed.set())
        table.actors.add(task, name)
        return task

    async def _drive(self, chooser: Chooser, cancellable: Sequence[str]) -> Failure | None:
        table = self._table
        cancellations = [Step.cancellation(name) for name in cancellable]
        self._fired: collections.Counter[str] = collections.Counter()
        await self.standstill.settle()
        for _ in range(self._max_steps):
            options = self._options(table)
            requests_left = any(not task.done() for task in self.roots.values())
            if not self._add_clock(options, requests_left=requests_left) and not options:
                if not requests_left:
                    return None
                await self.standstill.check_that_nothing_is_pending()
                await self.standstill.settle()
                if table.waiting or self._timers.next() is not None:
                    continue
                if all(task.done() for task in self.roots.values()):
                    return None
                return Failure("deadlock", self.standstill.describe_blocked())
            options.extend(
                step
                for step in cancellations
                if not self.roots[step.request].done() and self._has_started(table, step.request)
            )
            step = chooser.choose(options, self)
            if step.is_cancellation:
                cancellations.remove(step)
            label = await self._take(table, step)
            if table.surprises:
                raise Diverged(f"something outside the gate ran: {'; '.join(table.surprises)}")
            if self.on_step is not None:
                await self.on_step(step, label, self.standstill.blocked_note(step))
        raise Diverged(
            f"the requests still run after {self._max_steps:,} steps: {self.standstill.describe_blocked()}"
        )

    def _add_clock(self, options: list[Step], *, requests_left: bool) -> bool:
        """Add the clock to the options if a timer of the service can fire now; tell whether one can."""
        timers = self._timers
        if not timers.can_hold:
            self.bounds.add("in which no timer of the service fires")
        if timers.library_waits:
            self.bounds.add("in which no timeout of a client library strikes")
        busy = {step.request for step in options}
        self._next_timer = timers.next(busy)
        if timers.spared:
            self.bounds.add("in which a timeout strikes only a request that waits")
        if self._next_timer is None:
            return False
        if options and not self._explore_clock:
            self.bounds.add("in which the clock moves only when nothing can run")
            return False
        place = "; ".join(f"{name} {self.place_of(Step.of(name))}" for name in self.roots)
        if self._fired[place] >= (_EARLY_TICKS if options else _TAIL_TICKS if not requests_left else _TICKS):
            self.bounds.add("in which a pause that is repeated ends when nothing else can go on")
            return False
        self._fired_place = place
        options.append(CLOCK)
        return True

    def _has_started(self, table: Table, name: str) -> bool:
        operation = table.waiting.get(Step.of(name))
        return operation is None or operation.label != _START

    def _options(self, table: Table) -> list[Step]:
        order = list(self.roots)
        options = sorted(table.waiting, key=lambda step: (order.index(step.request), step.text))
        for steps in self._symmetry:
            unstarted = [
                step for step in steps if step in table.waiting and table.waiting[step].label == _START
            ]
            for step in unstarted[1:]:
                options.remove(step)
        return options

    async def _take(self, table: Table, step: Step) -> str:
        table.may_move = True
        try:
            if step.is_cancellation:
                self.roots[step.request].cancel()
                await self.standstill.settle()
                return "cancelled"
            if step is CLOCK:
                self._fired[self._fired_place] += 1
                assert self._next_timer is not None
                self._timers.fire(self._next_timer)
                await self.standstill.settle()
                return "the clock moves on"
            operation = table.waiting.pop(step)
            operation.go.set_result(None)
            await self.standstill.settle()
            return operation.label
        finally:
            table.may_move = False
