"""When is the effect of a step known? When all stand still: at the gate, done, or blocked in the server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._errors import Diverged
from deskbook.races._gates.base import Gate, Operation, Table
from deskbook.races._schedule import Step

#: Seconds of real time after which an operation that neither returns nor is blocked is given up.
GIVE_UP_AFTER_S = 20.0
#: Turns of the loop in which nothing moves, after which the Python side counts as standing still.
_QUIET_TURNS = 3
#: First wait for an operation before the server is asked whether it is blocked.
_FIRST_LOOK_S = 0.0015


class Standstill:
    """Waits until nothing moves any more, and tells who is blocked by whom.

    Args:
        gate: What stops the operations, and asks the server.

    Attributes:
        server_chose: Whether several operations waited and the server let only some of them go on: it may
            choose others next time.
        notes: What ran outside of the gate, as sentences for the report.
    """

    def __init__(self, gate: Gate) -> None:
        self.notes: set[str] = set()
        self.server_chose = False
        self._gate = gate
        self._roots: Mapping[str, asyncio.Task[Any]] = {}
        self._table = Table()

    def watch(self, table: Table, roots: Mapping[str, asyncio.Task[Any]]) -> None:
        """Watch another run.

        Args:
            table: Who stands at the gate.
            roots: Request -> its task.
        """
        self._table = table
        self._roots = roots

    async def settle(self) -> None:
        """Wait until every actor is at the gate, done, blocked in the server, or waits inside the process."""
        were_blocked = [operation for operation in self._table.running.values() if operation.is_blocked]
        try:
            await self._settle_all(were_blocked)
            while self._gate.turned_away and await self._gate.wait_until_freed():
                await self._settle_all(were_blocked)  # what was freed may let others go on
        finally:
            still = sum(operation.is_blocked for operation in were_blocked)
            if 0 < still < len(were_blocked):
                self.server_chose = True

    async def _settle_all(self, were_blocked: Sequence[Operation]) -> None:
        table = self._table
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GIVE_UP_AFTER_S
        patience = _FIRST_LOOK_S
        for operation in were_blocked:
            operation.is_blocked = False
        knows_better = True
        while True:
            await self._let_python_run()
            pending = [op for op in table.running.values() if not op.is_blocked]
            if not pending and not self._waits_for_other_io():
                return
            if pending and knows_better and all(op in were_blocked for op in pending):
                # What is left was blocked before this step. A server frees locks before it answers, so
                # whether they are blocked still can be asked at once.
                knows_better = False
                await self._ask_who_is_blocked(pending)
                continue
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
        for name, task in self._roots.items():
            actor = Step.of(name)
            if task.done() or actor in table.waiting or actor in table.running:
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
        found = await self._gate.blockers(sessions) if sessions else {}
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

    def blocked_note(self, actor: Step) -> str:
        """Return who holds what the operation of an actor waits for, or ""."""
        operation = self._table.running.get(actor)
        if operation is None or not operation.is_blocked:
            return ""
        return f"blocked by {self._holders(operation) or 'the server'}"

    def _holders(self, operation: Operation) -> str:
        sessions = self._table.sessions
        return ", ".join(str(sessions.get(session, "another session")) for session in operation.blocked_by)

    def describe_blocked(self) -> str:
        """Return who waits for whom, at which operation."""
        parts = []
        for name, task in self._roots.items():
            if task.done():
                continue
            operation = next((op for op in self._table.running.values() if op.actor.request == name), None)
            if operation is not None and operation.blocked_by:
                parts.append(f"{name} waits for {self._holders(operation)} at «{operation.label}»")
            else:
                parts.append(f"{name} waits at «{operation.label if operation else frames.position(task)}»")
        return "; ".join(parts)


def _is_socket_code(code: Any) -> bool:
    """Tell whether a frame waits for a socket: asyncio's streams and connections, and those of anyio."""
    if code.co_filename.endswith(("asyncio/streams.py", "asyncio/base_events.py")):
        return True
    return bool(
        code.co_filename.endswith("anyio/_backends/_asyncio.py")
        and code.co_qualname.startswith(("SocketStream", "UNIXSocketStream", "connect_"))
    )
