"""Gates for PostgreSQL through asyncpg, alone or under SQLAlchemy.

asyncpg sends everything through one class, `asyncpg.protocol.protocol.Protocol`; that class is the seam.
SQLAlchemy's asyncio engine drives asyncpg, so its statements pass the same seam. "Blocked" is never guessed
from time: the gate asks `pg_blocking_pids` on a connection of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .base import Gate

#: Statements that nobody else can notice; they pass without a choice. A snapshot is taken later, by the first
#: query.
_UNNOTICED = re.compile(r"\s*(BEGIN|START TRANSACTION|SET|SHOW|SAVEPOINT|RELEASE SAVEPOINT)\b", re.IGNORECASE)

#: The query that a pool sends when a connection comes back; it is noticed only where advisory locks are used.
_RESET = re.compile(r"\s*SELECT pg_advisory_unlock_all\(\)", re.IGNORECASE)

_GIVEN_BACK = "connection goes back to the pool"

#: How asyncpg asks for types that it does not know yet, once a connection: no statement of the service.
_TYPE_LOOKUP = re.compile(r"\s*WITH RECURSIVE typeinfo_tree\b", re.IGNORECASE)

_CHOICES = ("query", "bind_execute", "bind_execute_many", "bind", "execute", "copy_in", "copy_out")
#: Round trips that are followed to their end, but change nothing and read no rows.
_ROUND_TRIPS = ("prepare", "close_statement", "close_portal", "close")
_METHODS = _CHOICES + _ROUND_TRIPS


class AsyncpgGate(Gate):
    """Makes every asyncpg statement a step.

    Args:
        dsn: address of the database, for the connection that watches for locks.
    """

    level = "every statement, COMMIT and ROLLBACK"

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", dsn)
        self._monitor: Any = None
        self._uses_advisory_locks = False

    def install(self) -> None:
        """Hook asyncpg."""
        import asyncpg
        from asyncpg.protocol import protocol

        gate = self
        self._protocol = protocol.Protocol
        for name in _METHODS:
            setattr(protocol.Protocol, name, self._gated(name, getattr(protocol.BaseProtocol, name)))
        original = asyncpg.connection.connect
        self._connect = original

        async def connect(*args: Any, **options: Any) -> Any:
            return await gate.pass_through(
                "connect", None, lambda: original(*args, **options), is_choice=False
            )

        self._modules = [asyncpg, asyncpg.connection]
        for module in self._modules:
            module.connect = connect

    def remove(self) -> None:
        """Give asyncpg back as it was."""
        for name in _METHODS:
            if name in self._protocol.__dict__:
                delattr(self._protocol, name)
        for module in self._modules:
            module.connect = self._connect

    def _gated(self, name: str, original: Any) -> Any:
        gate = self

        async def method(protocol: Any, *args: Any, **options: Any) -> Any:
            if gate.table is None or protocol is gate._monitor_protocol:
                return await original(protocol, *args, **options)
            label = gate._label(name, args, options)
            return await gate.pass_through(
                label,
                protocol.get_server_pid(),
                lambda: original(protocol, *args, **options),
                is_choice=name in _CHOICES and not gate._is_unnoticed(label),
            )

        method.__name__ = name
        return method

    def _is_unnoticed(self, label: str) -> bool:
        """Tell whether no other session can notice a statement.

        Giving a connection back frees nothing but advisory locks; it is a choice once a statement mentioned
        them. (Advisory locks that only a stored function takes are not seen.)
        """
        self._uses_advisory_locks = self._uses_advisory_locks or "advisory" in label.lower()
        if label == _GIVEN_BACK:
            return not self._uses_advisory_locks
        return bool(_UNNOTICED.match(label) or _TYPE_LOOKUP.match(label))

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
        self._monitor = await self._connect(self._dsn)

    async def close(self) -> None:
        """Close it."""
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


class SQLAlchemyGate(AsyncpgGate):
    """Makes every statement of a SQLAlchemy asyncio engine a step.

    Args:
        engine: an engine of `create_async_engine("postgresql+asyncpg://...")`.
    """

    def __init__(self, engine: Any) -> None:
        driver = f"{engine.dialect.name}+{engine.dialect.driver}"
        if driver != "postgresql+asyncpg":
            raise ValueError(
                f"SQLAlchemyGate explores postgresql+asyncpg, this engine is {driver}: no other has a "
                f"seam to stop at, and what is not stopped would be a race that is not seen"
            )
        super().__init__(engine.url.render_as_string(hide_password=False))
