"""Calls in worker threads, which end by themselves: a request that waits for one does not stand still.

`def` endpoints and dependencies, `run_in_threadpool`, `asyncio.to_thread` and `loop.run_in_executor` all end
in one of two functions, and both are followed here from the call until the awaiting task goes on.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from deskbook.races._gates.base import Gate, Operation, Table
from deskbook.races._schedule import Step
from deskbook.races._subject.actors import REQUEST

#: Packages and modules by which a thread reaches a server or a database.
_IO_MODULES = frozenset(
    {
        "_socket",
        "_ssl",
        "select",
        "socket",
        "ssl",
        "sqlite3",
        "_sqlite3",
        "psycopg",
        "psycopg2",
        "psycopg_binary",
    }
    | {
        "psycopg_c",
        "pymysql",
        "MySQLdb",
        "_mysql_connector",
        "pymssql",
        "oracledb",
        "cx_Oracle",
        "pyodbc",
        "redis",
    }
)

#: What the loop itself calls in a thread; it tells nobody anything about the service.
_LOOKUPS = (socket.getaddrinfo, socket.getnameinfo)

#: The call that a worker thread makes for a request; unset on the loop.
THREAD_CALL: contextvars.ContextVar[ThreadCall | None] = contextvars.ContextVar(
    "deskbook_races_thread_call", default=None
)


@dataclass(eq=False)
class ThreadCall:
    """One call in a worker thread.

    Attributes:
        actor: The request or task that waits for it.
        table: The state of its run.
        loop: The loop that it was called from.
        limiter: What limits the threads (of anyio), or None.
        has_begun: Whether the thread has taken it up.
        is_awaited: Whether a task still waits for its result.
        is_inside: Whether the thread is in it.
        is_gated: Whether a gate sends something for it at this moment.
    """

    actor: Step
    table: Table
    loop: asyncio.AbstractEventLoop
    limiter: Any = None
    has_begun: bool = False
    is_awaited: bool = True
    is_inside: bool = False
    is_gated: bool = False

    def watch_for_io(self, frame: FrameType, event: str, function: Any) -> None:
        """Note, as the profiler of a thread, a call that speaks to a server or a database by no gate."""
        if self.is_gated or event not in ("call", "c_call"):
            return
        if event == "call":
            package = _package_of(frame)
        else:
            owner = getattr(function, "__self__", None)
            module = getattr(function, "__module__", None) or type(owner).__module__
            package = str(module).partition(".")[0]
        if package in _IO_MODULES and not self._is_gated_library(package, frame):
            self.table.ungated.add(
                f"NOT UNDER CONTROL: request {self.actor.request} did I/O in a worker thread that has no "
                f"gate ({package})"
            )

    def _is_gated_library(self, package: str, caller: FrameType | None) -> bool:
        """Tell whether it is a client library with a gate that does the I/O, such as to open a connection."""
        gated = self.table.gated_packages
        for _ in range(8):
            if package in gated or caller is None:
                break
            package, caller = _package_of(caller), caller.f_back
        return package in gated

    def end_if_over(self) -> None:
        """Take the call off the table once neither its thread nor a task is in it."""
        if not self.is_awaited and not self.is_inside:
            self.table.thread_calls.discard(self)
            self.table.changed.set()

    def waits_for_a_thread(self) -> bool:
        """Tell whether it has not begun because all threads are taken."""
        if self.has_begun or self.limiter is None:
            return False
        # Not by what the limiter has lent: it lends to a call before the thread takes that up.
        inside = [call for call in self.table.thread_calls if call.limiter is self.limiter and call.is_inside]
        return bool(len(inside) >= self.limiter.total_tokens)


class Abandoned(BaseException):
    """Ends the call of a worker thread whose run is over."""


class ThreadTurn:
    """Lets a thread stand at a gate, with what the search asks of a future.

    Args:
        on_go: Called on the loop when the search lets the operation through.
    """

    def __init__(self, on_go: Callable[[], None]) -> None:
        self._on_go = on_go
        self._event = threading.Event()
        self._is_cancelled = False

    def set_result(self, result: None) -> None:
        """Let the thread go on."""
        self._on_go()
        self._event.set()

    def cancel(self) -> None:
        """End the call, because the run is over."""
        self._is_cancelled = True
        self._event.set()

    def wait(self) -> None:
        """Stand still, in the thread.

        Raises:
            Abandoned: If the run is over.
        """
        self._event.wait()
        if self._is_cancelled:
            raise Abandoned


def pass_through_in_thread(
    gate: Gate, label: str, session: Any, send: Callable[[], Any], *, is_choice: bool = True
) -> Any:
    """Do what `Gate.pass_through` does, for a sync statement in a worker thread.

    Args:
        gate: The gate.
        label: The text of the operation.
        session: What the server knows the connection by, or None.
        send: Sends the operation and returns its result.
        is_choice: False for what others cannot notice.

    Raises:
        Abandoned: If the run ended before the operation was let through.
    """
    call, table = THREAD_CALL.get(), gate.table
    if call is None or table is None or call.table is not table:
        return send()
    operation: Operation

    def started() -> None:
        gate.started(table, operation)

    turn = ThreadTurn(started)
    operation = Operation(call.actor, label, session, None, turn)

    def arrive() -> None:
        if gate.table is table:
            gate.arrive(table, operation)
        else:
            turn.cancel()  # the run has ended in the meantime

    call.is_gated = True
    try:
        call.loop.call_soon_threadsafe(arrive if is_choice else started)
        if is_choice:
            turn.wait()
        try:
            return send()
        finally:
            call.loop.call_soon_threadsafe(gate.ended, table, operation)
    finally:
        call.is_gated = False


class ThreadWatch:
    """Follows the calls in worker threads while a run is under way.

    Args:
        loop: The running loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Any = loop
        self._table: Table | None = None
        self._anyio: Any = None

    def install(self, table: Table) -> None:
        """Follow calls for a run."""
        self._table = table
        if hasattr(self._loop, "__dict__"):
            self._run_in_executor = self._loop.run_in_executor
            self._loop.run_in_executor = self._followed_run_in_executor
        try:
            from anyio._backends._asyncio import AsyncIOBackend
        except ImportError:
            return
        self._anyio = AsyncIOBackend
        self._run_sync = AsyncIOBackend.__dict__["run_sync_in_worker_thread"]
        original, watch = AsyncIOBackend.run_sync_in_worker_thread, self

        async def run_sync_in_worker_thread(
            cls: Any, func: Any, args: Any, abandon_on_cancel: bool = False, limiter: Any = None
        ) -> Any:
            call = watch._begin(limiter or cls.current_default_thread_limiter())
            if call is None:
                return await original(func, args, abandon_on_cancel, limiter)
            try:
                return await original(_followed(call, func), args, abandon_on_cancel, limiter)
            finally:
                call.is_awaited = False
                call.end_if_over()

        AsyncIOBackend.run_sync_in_worker_thread = classmethod(run_sync_in_worker_thread)  # type: ignore[assignment]

    def remove(self) -> None:
        """Give loop and anyio back as they were."""
        self._table = None
        self._loop.__dict__.pop("run_in_executor", None)
        if self._anyio is not None:
            self._anyio.run_sync_in_worker_thread = self._run_sync
            self._anyio = None

    def _begin(self, limiter: Any = None) -> ThreadCall | None:
        request = REQUEST.get()
        table = self._table
        if request is None or table is None:
            return None
        actor = table.actors.step_of(asyncio.current_task(), request)
        if any(call.actor is actor for call in table.thread_calls):
            actor = table.actors.step_of(object(), request)
        call = ThreadCall(actor, table, self._loop, limiter)
        table.thread_calls.add(call)
        return call

    def _followed_run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        call = self._begin()
        if call is None:
            return self._run_in_executor(executor, func, *args)
        context = contextvars.copy_context()
        followed = _followed(call, func)
        future = self._run_in_executor(executor, lambda: context.run(followed, *args))

        def returned(_: Any) -> None:
            call.is_awaited = False
            call.end_if_over()

        future.add_done_callback(returned)
        return future


def _package_of(frame: FrameType | None) -> str:
    return "" if frame is None else str(frame.f_globals.get("__name__")).partition(".")[0]


def _followed(call: ThreadCall, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that says, in its thread, when it begins and when it has ended."""

    def in_thread(*args: Any) -> Any:
        call.is_inside = call.has_begun = True
        token = THREAD_CALL.set(call)
        watcher = sys.getprofile()
        if watcher is None and function not in _LOOKUPS:
            sys.setprofile(call.watch_for_io)
        try:
            return function(*args)
        finally:
            sys.setprofile(watcher)
            THREAD_CALL.reset(token)
            call.is_inside = False
            if not call.loop.is_closed():
                call.loop.call_soon_threadsafe(call.end_if_over)

    return in_thread
