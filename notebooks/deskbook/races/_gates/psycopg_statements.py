"""A gate for PostgreSQL through psycopg 3: async, sync in worker threads, alone or under SQLAlchemy.

psycopg writes all that speaks to the server as generators, and every one of them is driven by `wait` of its
connection: that method is the seam. The name of the generator tells what is about to be sent.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

from deskbook.races._errors import UngatedIO
from deskbook.races._gates.base import Gate
from deskbook.races._gates.postgres import UNNOTICED
from deskbook.races._gates.worker_threads import pass_through_in_thread
from deskbook.races._subject.actors import REQUEST

#: Generators that end a transaction -> what they send, if one is open.
_ENDINGS = {"_commit_gen": "COMMIT", "_rollback_gen": "ROLLBACK"}
#: `async with connection.transaction()`: its begin is noticed by nobody, its end is COMMIT or ROLLBACK.
_BEGIN, _END = "_enter_gen", "_exit_gen"


class PsycopgGate(Gate):
    """Makes every psycopg statement a step.

    Args:
        dsn: Address of the database, for the connection that watches for locks.
    """

    level = "every statement, COMMIT and ROLLBACK"
    seam = "psycopg"
    packages = frozenset({"psycopg", "psycopg_binary", "psycopg_c", "psycopg_pool"})

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", dsn)
        self._monitor: Any = None
        self._closed: set[Any] = set()
        self._originals: list[tuple[Any, str, Any]] = []

    def install(self) -> None:
        """Hook psycopg."""
        import psycopg
        from psycopg import waiting

        gate = self
        wait_async, wait = psycopg.AsyncConnection.wait, psycopg.Connection.wait
        close_async, close = psycopg.AsyncConnection.close, psycopg.Connection.close
        connect = waiting.wait_conn_async

        async def held_wait_async(connection: Any, generator: Any, *args: Any, **options: Any) -> Any:
            label, is_choice = _said_by(connection, generator)
            return await gate.pass_through(
                label,
                connection.pgconn.backend_pid,
                lambda: wait_async(connection, generator, *args, **options),
                is_choice=is_choice,
            )

        def held_wait(connection: Any, generator: Any, *args: Any, **options: Any) -> Any:
            label, is_choice = _said_by(connection, generator)
            is_choice = is_choice and not _an_engine_connects_first()
            if is_choice:
                gate._refuse_on_the_loop(label)
            return pass_through_in_thread(
                gate,
                label,
                connection.pgconn.backend_pid,
                lambda: wait(connection, generator, *args, **options),
                is_choice=is_choice,
            )

        async def noted_close_async(connection: Any) -> None:
            gate._given_up(connection)
            await close_async(connection)

        def noted_close(connection: Any) -> None:
            gate._given_up(connection)
            close(connection)

        async def followed_connect(*args: Any, **options: Any) -> Any:
            return await gate.pass_through(
                "connect", None, lambda: connect(*args, **options), is_choice=False
            )

        self._replace(psycopg.AsyncConnection, "wait", held_wait_async)
        self._replace(psycopg.Connection, "wait", held_wait)
        self._replace(psycopg.AsyncConnection, "close", noted_close_async)
        self._replace(psycopg.Connection, "close", noted_close)
        self._replace(waiting, "wait_conn_async", followed_connect)

    def _replace(self, owner: Any, name: str, replacement: Any) -> None:
        self._originals.append((owner, name, getattr(owner, name)))
        setattr(owner, name, replacement)

    def remove(self) -> None:
        """Give psycopg back as it was."""
        while self._originals:
            owner, name, original = self._originals.pop()
            setattr(owner, name, original)

    def _refuse_on_the_loop(self, label: str) -> None:
        """Refuse a sync statement of a request on the event loop itself.

        Raises:
            UngatedIO: It could wait for a lock of another request, which could never give it back.
        """
        request, table = REQUEST.get(), self.table
        if request is None or table is None:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        table.surprises.append(f"request {request} used a sync connection on the event loop")
        raise UngatedIO(
            f"«{label}» was sent by a sync connection on the event loop, where it stops every other request: "
            f"make the endpoint a `def`, or use psycopg.AsyncConnection"
        )

    def _given_up(self, connection: Any) -> None:
        """Note that a connection ends: what it holds is free when the server's process for it is gone."""
        if not connection.closed and self._monitor is not None:
            session = connection.pgconn.backend_pid
            if session != self._monitor.pgconn.backend_pid:
                self._closed.add(session)
                self.turn_away(session)

    async def open(self) -> None:
        """Open the connection that watches for locks."""
        import psycopg

        self._monitor = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)

    async def close(self) -> None:
        """Close the connection that watches for locks."""
        if self._monitor is not None:
            monitor, self._monitor = self._monitor, None
            await monitor.close()

    async def blockers(self, sessions: Iterable[Any]) -> dict[Any, tuple[Any, ...]]:
        """Ask the server who waits for whom."""
        cursor = await self._monitor.execute(
            "select pid, pg_blocking_pids(pid) from unnest(%s::int[]) as pid", [list(sessions)]
        )
        return {pid: tuple(sorted(blocking)) for pid, blocking in await cursor.fetchall() if blocking}

    async def still_at_work(self, sessions: Iterable[Any]) -> set[Any]:
        """Ask the server which sessions run a statement still, or are there without their connection."""
        cursor = await self._monitor.execute(
            "select pid, state = 'active' from pg_stat_activity where pid = any(%s::int[])", [list(sessions)]
        )
        return {pid for pid, is_active in await cursor.fetchall() if is_active or pid in self._closed}


def _an_engine_connects_first() -> bool:
    """Tell whether SQLAlchemy asks a server what it is, for the first connection of an engine.

    It does so under a lock: whoever stood at the gate there would keep the threads of all other requests from
    coming to theirs. What it asks (the version, the schema) no request can notice.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "first_connect" and "sqlalchemy" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _said_by(connection: Any, generator: Any) -> tuple[str, bool]:
    """Return what a generator of psycopg is about to send, and whether others can notice it."""
    name = generator.gi_code.co_name
    values = generator.gi_frame.f_locals
    is_idle = connection.pgconn.transaction_status == 0
    if name in _ENDINGS:
        return _ENDINGS[name], not is_idle
    if name == _BEGIN:
        return "BEGIN", False
    if name == _END:
        return ("COMMIT" if values.get("exc_type") is None else "ROLLBACK"), not is_idle
    query = values.get("query")
    if query is None:
        return name.strip("_").removesuffix("_gen").replace("_", " "), True
    text = query if isinstance(query, (str, bytes)) else query.as_string(connection)
    label = " ".join((text.decode() if isinstance(text, bytes) else text).split()).rstrip(";")
    is_choice = not UNNOTICED.match(label)
    parameters = values.get("params")
    if parameters:
        shown = parameters.values() if isinstance(parameters, dict) else parameters
        label += "  [" + ", ".join(repr(value) for value in shown) + "]"
    return label, is_choice
