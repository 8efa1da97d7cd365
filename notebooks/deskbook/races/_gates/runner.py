"""Runs one schedule against real servers: one operation at a time, each to its known effect."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from deskbook.races._errors import Diverged
from deskbook.races._gates.base import Gate, Operation, Table
from deskbook.races._gates.cleanup import finish
from deskbook.races._gates.standstill import Standstill
from deskbook.races._schedule import Step
from deskbook.races._search.chooser import Chooser
from deskbook.races._search.judges import Judge
from deskbook.races._story.outcome import Failure
from deskbook.races._story.run_result import RunResult, result_of
from deskbook.races._subject.actors import REQUEST
from deskbook.races._subject.lifespan import Lifespan
from deskbook.races._subject.scenario import Scenario, around_the_requests

#: The label of the first operation of a request, which stands for its start.
_START = "start"

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

    Attributes:
        app: The subject of the present run.
        roots: Request -> its task.
        standstill: Waits for the effect of a step.
        on_step: Notes the steps while a run is recorded.
    """

    def __init__(self, scenario: Scenario, gate: Gate, cancellable: Sequence[str] = ()) -> None:
        scenario.check_cancellable(cancellable)
        self.scenario = scenario
        self.gate = gate
        self.standstill = Standstill(gate)
        self.roots: dict[str, asyncio.Task[Any]] = {}
        self.on_step: OnStep | None = None
        self.app: Any = None
        self._cancellable = tuple(cancellable)
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
        table = self._table = self.gate.table = Table()
        self.roots = {name: self._spawn(name, app, state, table) for name in names}
        self.standstill.watch(table, self.roots)
        try:
            result.failure = await self._drive(chooser, self._cancellable if order is None else ())
            self.gate.table = None
            for name, task in self.roots.items():
                if task.done():
                    result.responses[name] = result_of(task)
            if scenario.observe is not None:
                result.state = await self.call(scenario.observe, app)
            if result.failure is None:
                found = judge(result)
                result.failure = await found if inspect.isawaitable(found) else found
        finally:
            self.gate.table = None
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
        await self.standstill.settle()
        while True:
            options = self._options(table)
            if not options:
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
            operation = table.waiting.pop(step)
            operation.go.set_result(None)
            await self.standstill.settle()
            return operation.label
        finally:
            table.may_move = False
