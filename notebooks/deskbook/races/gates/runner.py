"""Runs one schedule against real servers: one operation at a time, each to its known effect."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from typing import Any

from ..chooser import REQUEST, Chooser
from ..errors import Diverged
from ..lifespan import Lifespan
from ..outcome import Failure
from ..run_result import RunResult, as_coroutine, result_of
from ..scenario import Scenario
from .base import Gate, Operation, Table
from .cleaning import finish
from .settling import Settling


class GatedRunner(Settling):
    """Runs a scenario with its server operations under control, on the loop that is running.

    Args:
        scenario: what to run.
        gate: what stops the operations.
    """

    def __init__(self, scenario: Scenario, gate: Gate, cancellable: Sequence[str] = ()) -> None:
        super().__init__(gate)
        self.scenario = scenario
        self.cancellable = tuple(cancellable)
        self.on_step: Callable[[str, str, str], Any] | None = None
        self._symmetry: tuple[tuple[str, ...], ...] = ()
        self.app: Any = None
        self._kept: Any = None
        self._kept_lifespan: Lifespan | None = None

    def set_symmetry(self, groups: Sequence[Sequence[str]]) -> None:
        """Name requests that are identical (see `symmetry`)."""
        self._symmetry = tuple(tuple(names) for names in groups)

    def place_of(self, step: str) -> object:
        """Return what an actor is about to send."""
        operation = self.table.waiting.get(step)
        return step if operation is None else operation.label

    async def run(
        self, chooser: Chooser, judge: Callable[[RunResult], Any], *, only: Sequence[str] | None = None
    ) -> RunResult:
        """Run once and judge.

        Raises:
            Diverged: if an operation neither returned nor was blocked, or something moved by itself.
        """
        scenario, result = self.scenario, RunResult()
        app, lifespan = await self._subject()
        result.app = self.app = app
        state = lifespan.state if lifespan is not None else None
        self._before = asyncio.all_tasks()
        names = scenario.names if only is None else only
        table = self.table = self.gate.table = Table()
        self.roots = {name: self._spawn(name, app, state, table) for name in names}
        try:
            result.failure = await self._drive(chooser)
            self.gate.table = None
            for name, task in self.roots.items():
                if task.done():
                    result.responses[name] = result_of(task)
            if scenario.observe is not None:
                result.state = await self.call(scenario.observe, app)
            if result.failure is None:
                found = judge(result)
                result.failure = await found if asyncio.iscoroutine(found) else found
        finally:
            self.gate.table = None
            await finish(table, list(self.roots.values()), self._before)
            await self.gate.wait_until_freed()
            if lifespan is not None and lifespan is not self._kept_lifespan:
                await lifespan.stop()
        return result

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user's, which may be a coroutine function."""
        value = function(*args)
        return await value if hasattr(value, "__await__") else value

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
        if not callable(app) or not self.scenario.has_http or not Lifespan.is_needed(app):
            return None
        lifespan = Lifespan(app)
        await lifespan.start()
        return lifespan

    def _spawn(self, name: str, app: Any, state: Any, table: Table) -> asyncio.Task[Any]:
        context = contextvars.copy_context()
        context.run(REQUEST.set, name)

        async def request() -> Any:
            start = Operation(name, "start", None, None, asyncio.get_running_loop().create_future())
            await self.gate.wait_for_turn(table, start)
            self.gate.ended(table, start)
            return await as_coroutine(self.scenario.start(name, app, state))

        task = asyncio.get_running_loop().create_task(request(), name=name, context=context)
        task.add_done_callback(lambda _: table.changed.set())
        table.names[task] = name
        return task

    async def _drive(self, chooser: Chooser) -> Failure | None:
        table = self.table
        cancellable = list(self.cancellable)
        await self.settle()
        while True:
            options = self._options(table)
            if not options:
                if all(task.done() for task in self.roots.values()):
                    return None
                return Failure("deadlock", self.describe_blocked())
            for name in cancellable:
                task = self.roots.get(name)
                if task is not None and not task.done() and self._has_started(table, name):
                    options.append(f"cancel({name})")
            step = chooser.choose(options, self)
            label = await self._take(table, step, cancellable)
            if table.surprises:
                raise Diverged(f"something outside the gate ran: {'; '.join(table.surprises)}")
            if self.on_step is not None:
                await self.on_step(step, label, self.blocked_note(table, step))

    def _has_started(self, table: Table, name: str) -> bool:
        operation = table.waiting.get(name)
        return operation is None or operation.label != "start"

    def _options(self, table: Table) -> list[str]:
        order = list(self.roots)
        options = sorted(table.waiting, key=lambda name: (order.index(name.partition(".")[0]), name))
        for names in self._symmetry:
            unstarted = [n for n in names if n in table.waiting and table.waiting[n].label == "start"]
            for name in unstarted[1:]:
                options.remove(name)
        return options

    async def _take(self, table: Table, step: str, cancellable: list[str]) -> str:
        table.may_move = True
        try:
            if step.startswith("cancel("):
                name = step[7:-1]
                cancellable.remove(name)
                self.roots[name].cancel()
                await self.settle()
                return "cancelled"
            operation = table.waiting.pop(step)
            operation.go.set_result(None)
            await self.settle()
            return operation.label
        finally:
            table.may_move = False
