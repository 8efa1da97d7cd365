"""The gate for PostgreSQL through asyncpg, alone or under SQLAlchemy.

asyncpg sends everything through one class, `asyncpg.protocol.protocol.Protocol`; that class is the seam.
SQLAlchemy's asyncio engine drives asyncpg, so its statements pass the same seam. "Blocked" is never guessed
from time: the gate asks `pg_blocking_pids` on a connection of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from deskbook.races._gates.base import Gate

#: Statements that nobody else can notice; they pass without a choice. The snapshot of a transaction is taken
#: by its first query, not by BEGIN.
UNNOTICED = re.compile(r"\s*(BEGIN|START TRANSACTION|SET|SHOW|SAVEPOINT|RELEASE SAVEPOINT)\b", re.IGNORECASE)

#: The query that a pool sends when a connection comes back; it is noticed only where advisory locks are used.
_RESET = re.compile(r"\s*SELECT pg_advisory_unlock_all\(\)", re.IGNORECASE)

_GIVEN_BACK = "connection goes back to the pool"

#: True while asyncpg asks the server for types that it does not know yet. It does so once a connection, by
#: several statements of its own, which are no steps of the service.
_LOOKS_TYPES_UP: contextvars.ContextVar[bool] = contextvars.ContextVar("deskbook_type_lookup", default=False)
_TYPE_LOOKUPS = ("_introspect_types", "_introspect_type")

_CHOICES = ("query", "bind_execute", "bind_execute_many", "bind", "execute", "copy_in", "copy_out")
#: Round trips that are followed to their end, but change nothing and read no rows.
_ROUND_TRIPS = ("prepare", "close_statement", "close_portal", "close")
_METHODS = _CHOICES + _ROUND_TRIPS


class AsyncpgGate(Gate):
    """Makes every asyncpg statement a step.

    Args:
        dsn: Address of the database, for the connection that watches for locks.
    """

    level = "every statement, COMMIT and ROLLBACK"
    seam = "asyncpg"

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", dsn)
        self._monitor: Any = None
        self._uses_advisory_locks = False
        self._closed: set[Any] = set()

    def install(self) -> None:
        """Hook asyncpg."""
        import asyncpg
        from asyncpg import connect_utils
        from asyncpg.protocol import protocol

        gate = self
        self._protocol = protocol.Protocol
        for name in _METHODS:
            setattr(protocol.Protocol, name, self._gated(name, getattr(protocol.BaseProtocol, name)))
        # Below `asyncpg.connect`: a pool remembers that function from the day it was made.
        original = self._connect = connect_utils._connect

        async def connect(**options: Any) -> Any:
            return await gate.pass_through("connect", None, lambda: original(**options), is_choice=False)

        connect_utils._connect = connect
        self._abort = protocol.BaseProtocol.abort
        protocol.Protocol.abort = self._noted_abort()
        self._connection_class = asyncpg.Connection
        self._lookups = {name: getattr(asyncpg.Connection, name) for name in _TYPE_LOOKUPS}
        for name, lookup in self._lookups.items():
            setattr(asyncpg.Connection, name, _marked(lookup))

    def remove(self) -> None:
        """Give asyncpg back as it was."""
        from asyncpg import connect_utils

        for name in (*_METHODS, "abort"):
            if name in self._protocol.__dict__:
                delattr(self._protocol, name)
        for name, lookup in self._lookups.items():
            setattr(self._connection_class, name, lookup)
        connect_utils._connect = self._connect

    def _gated(self, name: str, original: Any) -> Any:
        gate = self

        async def method(protocol: Any, *args: Any, **options: Any) -> Any:
            if protocol is gate._monitor_protocol:
                return await original(protocol, *args, **options)
            session = protocol.get_server_pid()
            if name == "close":
                gate._given_up(session)
            if gate.table is None:
                return await gate._unwatched(session, original(protocol, *args, **options))
            label = gate._label(name, args, options)
            return await gate.pass_through(
                label,
                session,
                lambda: original(protocol, *args, **options),
                is_choice=name in _CHOICES and not _LOOKS_TYPES_UP.get() and not gate._is_unnoticed(label),
            )

        method.__name__ = name
        return method

    async def _unwatched(self, session: Any, sent: Awaitable[Any]) -> Any:
        """Wait for a statement outside of the explored region; it may be cancelled too."""
        try:
            return await sent
        except asyncio.CancelledError:
            self.turn_away(session)
            raise

    def _noted_abort(self) -> Callable[[Any], None]:
        def abort(protocol: Any) -> None:
            if protocol is not self._monitor_protocol and protocol.is_connected():
                self._given_up(protocol.get_server_pid())
            self._abort(protocol)

        return abort

    def _given_up(self, session: Any) -> None:
        """Note that a connection ends: what it holds is free when the server's process for it is gone."""
        self._closed.add(session)
        self.turn_away(session)

    def _is_unnoticed(self, label: str) -> bool:
        """Tell whether no other session can notice a statement.

        Giving a connection back frees nothing but advisory locks; it is a choice once a statement mentioned
        them. (Advisory locks that only a stored function takes are not seen.)
        """
        self._uses_advisory_locks = self._uses_advisory_locks or "advisory" in label.lower()
        if label == _GIVEN_BACK:
            return not self._uses_advisory_locks
        return bool(UNNOTICED.match(label))

    @property
    def _monitor_protocol(self) -> Any:
        return None if self._monitor is None else self._monitor._protocol

    def _label(self, method: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
        first = args[0] if args else options.get("state", options.get("query", method))
        text = first if isinstance(first, str) else str(getattr(first, "query", first))
        values = args[1] if len(args) > 1 else options.get("args", ())
        label = " ".join(text.split()).rstrip(";")
        if _RESET.match(label):
            return _GIVEN_BACK
        if method.startswith("bind") and values and isinstance(values, (list, tuple)):
            label += "  [" + ", ".join(repr(value) for value in values) + "]"
        return label

    async def open(self) -> None:
        """Open the connection that watches for locks."""
        import asyncpg

        self._monitor = await asyncpg.connect(self._dsn)

    async def close(self) -> None:
        """Close the connection that watches for locks."""
        if self._monitor is not None:
            await self._monitor.close()
            self._monitor = None

    async def blockers(self, sessions: Iterable[Any]) -> dict[Any, tuple[Any, ...]]:
        """Ask the server who waits for whom."""
        pids = list(sessions)
        rows = await self._monitor.fetch(
            "select pid, pg_blocking_pids(pid) from unnest($1::int[]) as pid", pids
        )
        return {pid: tuple(sorted(blocking)) for pid, blocking in rows if blocking}

    async def still_at_work(self, sessions: Iterable[Any]) -> set[Any]:
        """Ask the server which sessions run a statement still, or are there without their connection."""
        rows = await self._monitor.fetch(
            "select pid, state = 'active' from pg_stat_activity where pid = any($1::int[])", list(sessions)
        )
        return {pid for pid, is_active in rows if is_active or pid in self._closed}


def _marked(lookup: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return a type lookup of asyncpg that says so while it runs."""

    async def marked(connection: Any, *args: Any, **options: Any) -> Any:
        token = _LOOKS_TYPES_UP.set(True)
        try:
            return await lookup(connection, *args, **options)
        finally:
            _LOOKS_TYPES_UP.reset(token)

    return marked
