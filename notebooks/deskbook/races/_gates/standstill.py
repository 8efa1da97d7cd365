"""When is the effect of a step known? When all stand still: at the gate, done, or blocked in the server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._errors import Diverged
from deskbook.races._gates.base import Gate, Operation, Table
from deskbook.races._gates.worker_threads import ThreadCall
from deskbook.races._schedule import Step

#: Seconds of real time after which an operation that neither returns nor is blocked is given up.
GIVE_UP_AFTER_S = 20.0
#: Turns of the loop in which nothing moves, after which the Python side counts as standing still.
_QUIET_TURNS = 3
#: Seconds of real time for which nobody must be able to go on before that is called a deadlock.
_LAST_LOOK_S = 0.3
#: Where a task waits for what another task does.
_PRIMITIVES = ("asyncio/locks.py", "asyncio/queues.py", "asyncio/taskgroups.py", "asyncio/tasks.py")
#: Where a task waits for the world outside.
_OUTSIDE = (
    "asyncio/streams.py",
    "asyncio/base_events.py",
    "asyncio/subprocess.py",
    "asyncio/base_subprocess.py",
    "asyncio/unix_events.py",
    "psycopg/waiting.py",
    "aiosqlite/core.py",
)
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
        self._threads_before = set(threading.enumerate())

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
            in_threads = self._at_work_in_threads()
            if not pending and not in_threads and not self._waits_for_other_io():
                return
            if pending and not in_threads and knows_better and all(op in were_blocked for op in pending):
                # What is left was blocked before this step. A server frees locks before it answers, so
                # whether they are blocked still can be asked at once.
                knows_better = False
                await self._ask_who_is_blocked(pending)
                continue
            table.changed.clear()
            try:
                await asyncio.wait_for(table.changed.wait(), patience)
            except TimeoutError:
                if not in_threads:
                    # What a thread is about to do may be the very thing that the others wait for.
                    await self._ask_who_is_blocked(pending)
                patience = min(patience * 1.5, 0.02)
            if loop.time() > deadline:
                stuck = ", ".join(f"{op.actor}: {op.label}" for op in pending)
                stuck = stuck or ", ".join(f"{call.actor}: a call in a worker thread" for call in in_threads)
                stuck = stuck or "I/O that has no gate"
                raise Diverged(f"no answer in {GIVE_UP_AFTER_S:g} s and no lock that explains it: {stuck}")

    def _at_work_in_threads(self) -> list[ThreadCall]:
        """Return the calls in worker threads that will go on by themselves."""
        table = self._table
        return [
            call
            for call in table.thread_calls
            if call.actor not in table.waiting
            and call.actor not in table.running
            and not call.waits_for_a_thread()
        ]

    async def check_that_nothing_is_pending(self) -> None:
        """Wait a little where nobody can go on: is that a deadlock, or does something come from outside?

        Raises:
            Diverged: If a request waits for something that could still come from outside of the loop: a
                subprocess, or a thread that the service has started itself.
        """
        table = self._table
        table.changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(table.changed.wait(), _LAST_LOOK_S)
            return
        strangers = [thread.name for thread in self._own_threads_of_the_service()]
        if strangers and any(self._awaits_a_bare_future(task) for task in self._unfinished()):
            raise Diverged(
                f"nobody could go on for {_LAST_LOOK_S:g} s, and what is waited for may come from a thread "
                f"that is not under control ({', '.join(sorted(strangers))}): {self.describe_blocked()}"
            )

    def _unfinished(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._roots.values() if not task.done()]

    def _own_threads_of_the_service(self) -> list[threading.Thread]:
        known = ("AnyIO worker thread", "asyncio_", "ThreadPoolExecutor", "waitpid-", "deskbook")
        return [
            thread
            for thread in threading.enumerate()
            if thread not in self._threads_before
            and not thread.name.startswith(known)
            and thread is not threading.current_thread()
        ]

    def _awaits_a_bare_future(self, task: asyncio.Task[Any]) -> bool:
        """Tell whether a task waits for something that no lock, queue or event of asyncio stands for."""
        if any(operation.actor.request == task.get_name() for operation in self._table.running.values()):
            return False
        chain = [frame for frame in frames.await_chain(task.get_coro()) if frame is not None]
        return not chain or not chain[-1].f_code.co_filename.endswith(_PRIMITIVES)

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
        in_threads = {call.actor for call in table.thread_calls}
        for name, task in self._roots.items():
            actor = Step.of(name)
            if task.done() or actor in table.waiting or actor in table.running or actor in in_threads:
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
        now = time.monotonic()
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
    if code.co_filename.endswith(_OUTSIDE):
        return True
    return bool(
        code.co_filename.endswith("anyio/_backends/_asyncio.py")
        and code.co_qualname.startswith(("SocketStream", "UNIXSocketStream", "connect_"))
    )
