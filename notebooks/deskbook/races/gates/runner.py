"""Runs one schedule against real servers: one operation at a time, each to its known effect."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from typing import Any

from .. import frames
from ..errors import Diverged
from ..lifespan import Lifespan
from ..loop import REQUEST, Chooser
from ..outcome import Failure
from ..scenario import RunResult, Scenario, as_coroutine, result_of
from .base import Gate, Operation, Table

#: Seconds of real time after which an operation that neither returns nor is blocked is given up.
GIVE_UP_AFTER_S = 20.0
#: Turns of the loop in which nothing moves, after which the Python side counts as standing still.
_QUIET_TURNS = 3
#: Rounds and seconds of real time that cleaning up after a run may take before tasks are cancelled.
_CLEANING_ROUNDS = 5
_CLEANING_S = 2.0
#: First wait for an operation before the server is asked whether it is blocked.
_FIRST_LOOK_S = 0.003


class GatedRunner:
    """Runs a scenario with its server operations under control, on the loop that is running.

    Args:
        scenario: what to run.
        gate: what stops the operations.
    """

    def __init__(self, scenario: Scenario, gate: Gate, cancellable: Sequence[str] = ()) -> None:
        self.scenario = scenario
        self.gate = gate
        self.cancellable = tuple(cancellable)
        self.notes: set[str] = set()
        #: Whether several operations waited and the server let only some of them go on: it may choose others
        #: next time.
        self.server_chose = False
        self.roots: dict[str, asyncio.Task[Any]] = {}
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
        operation = self._table.waiting.get(step)
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
        table = self._table = self.gate.table = Table()
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
            await self._finish(table)
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
        table = self._table
        cancellable = list(self.cancellable)
        await self._settle()
        while True:
            options = self._options(table)
            if not options:
                if all(task.done() for task in self.roots.values()):
                    return None
                return Failure("deadlock", self._describe_blocked())
            for name in cancellable:
                task = self.roots.get(name)
                if task is not None and not task.done() and self._has_started(table, name):
                    options.append(f"cancel({name})")
            step = chooser.choose(options, self)
            label = await self._take(table, step, cancellable)
            if table.surprises:
                raise Diverged(f"something outside the gate ran: {'; '.join(table.surprises)}")
            if self.on_step is not None:
                await self.on_step(step, label, self._blocked_note(table, step))

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
                await self._settle()
                return "cancelled"
            operation = table.waiting.pop(step)
            operation.go.set_result(None)
            await self._settle()
            return operation.label
        finally:
            table.may_move = False

    async def _settle(self) -> None:
        """Wait until every actor is at the gate, done, blocked in the server, or waits inside the process."""
        table = self._table
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GIVE_UP_AFTER_S
        patience = _FIRST_LOOK_S
        were_blocked = [operation for operation in table.running.values() if operation.is_blocked]
        for operation in were_blocked:
            operation.is_blocked = False
        try:
            await self._settle_all(deadline, patience)
        finally:
            still = sum(operation.is_blocked for operation in were_blocked)
            if 0 < still < len(were_blocked):
                self.server_chose = True

    async def _settle_all(self, deadline: float, patience: float) -> None:
        table = self._table
        loop = asyncio.get_running_loop()
        while True:
            await self._let_python_run()
            pending = [op for op in table.running.values() if not op.is_blocked]
            if not pending and not self._waits_for_other_io():
                return
            table.changed.clear()
            try:
                await asyncio.wait_for(table.changed.wait(), patience)
            except TimeoutError:
                await self._ask_who_is_blocked(pending)
                patience = min(patience * 1.5, 0.02)
            if loop.time() > deadline:
                stuck = ", ".join(f"{op.actor}: {op.label}" for op in pending) or "I/O that has no gate"
                raise Diverged(f"no answer in {GIVE_UP_AFTER_S:g} s and no lock that explains it: {stuck}")

    async def _let_python_run(self) -> None:
        ready = getattr(asyncio.get_running_loop(), "_ready", ())
        quiet = 0
        for _ in range(10_000):
            await asyncio.sleep(0)
            quiet = quiet + 1 if not ready else 0
            if quiet == 1:
                self._waits_for_other_io()
            if quiet >= _QUIET_TURNS:
                return

    def _waits_for_other_io(self) -> bool:
        """Tell whether a request waits for a socket that no gate watches."""
        table = self._table
        for name, task in self.roots.items():
            if task.done() or name in table.waiting or name in table.running:
                continue
            chain = [frame for frame in frames.await_chain(task.get_coro()) if frame is not None]
            if any(_is_socket_code(frame.f_code) for frame in chain):
                self.notes.add(f"NOT UNDER CONTROL: request {name} waited for I/O that has no gate")
                return True
        return False

    async def _ask_who_is_blocked(self, pending: Sequence[Operation]) -> None:
        """Mark the operations as blocked if all of them are, in one snapshot of the server.

        While one is still on its way the others prove nothing: it may be the COMMIT that frees them.
        """
        now = asyncio.get_running_loop().time()
        sessions = [operation.session for operation in pending if operation.session is not None]
        found = await self.gate.blockers(sessions) if sessions else {}
        for operation in pending:
            waits_by_design = (
                operation.may_block_s is not None and now - operation.sent_at_s > operation.may_block_s
            )
            if operation.session not in found and not waits_by_design:
                return
        if any(self._table.running.get(operation.actor) is not operation for operation in pending):
            return  # one of them returned while the server was asked
        for operation in pending:
            operation.is_blocked = True
            operation.blocked_by = found.get(operation.session, ())

    def _blocked_note(self, table: Table, step: str) -> str:
        operation = table.running.get(step)
        if operation is None or not operation.is_blocked:
            return ""
        holders = ", ".join(
            table.sessions.get(session, "another session") for session in operation.blocked_by
        )
        return f"blocked by {holders or 'the server'}"

    def _describe_blocked(self) -> str:
        table = self._table
        parts = []
        for name, task in self.roots.items():
            if task.done():
                continue
            operation = next(
                (op for op in table.running.values() if op.actor.partition(".")[0] == name), None
            )
            if operation is not None and operation.blocked_by:
                holders = ", ".join(table.sessions.get(s, "another session") for s in operation.blocked_by)
                parts.append(f"{name} waits for {holders} at «{operation.label}»")
            else:
                parts.append(f"{name} waits at «{operation.label if operation else frames.position(task)}»")
        return "; ".join(parts)

    async def _finish(self, table: Table) -> None:
        """Let everything go, cancel what is left and wait for it, so that no lock outlives the run.

        A client library may clean up in tasks of its own (asyncpg gives a connection back in one); they are
        waited for too, else the next run would find the pool half empty.
        """
        loop = asyncio.get_running_loop()
        handler = loop.get_exception_handler()
        # asyncpg tells the handler of every transaction that a cancelled request left open: that is this
        # method's doing.
        loop.set_exception_handler(lambda loop, context: None)
        try:
            for operation in list(table.waiting.values()):
                operation.go.cancel()
            for task in self.roots.values():
                task.cancel()
            for _ in range(_CLEANING_ROUNDS):
                left = [
                    task for task in asyncio.all_tasks() - self._before if task is not asyncio.current_task()
                ]
                if not left:
                    break
                _, late = await asyncio.wait(left, timeout=_CLEANING_S)
                for task in late:
                    task.cancel()
        finally:
            loop.set_exception_handler(handler)
        for task in self.roots.values():
            if task.done() and not task.cancelled():
                task.exception()


def _is_socket_code(code: Any) -> bool:
    """Tell whether a frame waits for a socket: asyncio's streams and connections, and those of anyio."""
    if code.co_filename.endswith(("asyncio/streams.py", "asyncio/base_events.py")):
        return True
    return bool(
        code.co_filename.endswith("anyio/_backends/_asyncio.py")
        and code.co_qualname.startswith(("SocketStream", "UNIXSocketStream", "connect_"))
    )
