"""What a `checks.py` may use: the one door for those who write exercises.

Fixtures, asked for by name as in any pytest test:

    answer         what the learner's answer defines, as attributes
    evidence       what this check shows beside its sentence: see `checking/evidence.py`
    http           a client of an app: `reply = await http(answer.app).get("/quotes/IBM")`
    desk           a PostgreSQL database with the TABLES of the checks: engine, sessions, a connection
    database_url   the address of an empty PostgreSQL database, for checks that need nothing else of `desk`

And functions, imported from here: `until_done_or_blocked`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    import asyncpg
    import httpx
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

#: Connections of an answer at most, and how long one of the checks may take to open, in seconds.
POOL_SIZE = 5
CONNECT_TIMEOUT_S = 10.0

_WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
_ASK_AGAIN_S = 0.01


class Desk:
    """A database for one check, open while the test runs.

    Args:
        url: Address of an empty database.
        tables: Statements that make the tables, with their rows where each test begins with the same.

    Attributes:
        engine: What the answer works with, and what a gate of the explorer holds.
        sessions: Makes sessions of the engine.
        own: A connection of the checks alone, outside of every transaction of the answer.
    """

    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    own: asyncpg.Connection

    def __init__(self, url: str, tables: str) -> None:
        self._url = url
        self._tables = tables

    async def __aenter__(self) -> Self:
        import asyncpg
        from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

        self.own = await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S)
        await self.own.execute(self._tables)
        address = self._url.replace("postgresql:", "postgresql+asyncpg:")
        self.engine = create_async_engine(address, pool_size=POOL_SIZE)
        self.sessions = async_sessionmaker(self.engine)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.own.close()
        await self.engine.dispose()


@pytest.fixture
def desk(request: pytest.FixtureRequest, database_url: str) -> Desk:
    """A database with the tables that the module names as TABLES."""
    return Desk(database_url, request.module.TABLES)


@pytest.fixture
def http() -> Callable[[Any], httpx.AsyncClient]:
    """A function that gives a client of an app in this process.

    Nobody closes the client: it talks to an app in this process, and has opened nothing.
    """
    import httpx

    def client_of(app: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://desk")

    return client_of


async def until_done_or_blocked(
    connection: asyncpg.Connection, task: asyncio.Task[Any], *, sessions: int = 1, timeout_s: float = 3.0
) -> None:
    """Wait for a task, but no longer once so many sessions of this database wait for a lock.

    PostgreSQL says who waits; a fixed wait would be too short or too long.

    Args:
        connection: One of the checks alone, outside of a transaction: inside, pg_stat_activity never changes.
        task: What may be blocked; it is left running.
        sessions: How many have to wait, those included that waited before.
        timeout_s: The longest wait for a task that waits for something else, in seconds.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while not task.done() and await connection.fetchval(_WAITING) < sessions and loop.time() < deadline_s:
        await asyncio.wait([task], timeout=_ASK_AGAIN_S)
