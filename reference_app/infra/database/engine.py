"""The engine and its sessions: one factory, every limit explicit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from reference_app.settings import Settings, database_url

#: What a service is given: it opens a session for each unit of work and commits before it returns.
Sessions = async_sessionmaker[AsyncSession]


def create_engine(settings: Settings) -> AsyncEngine:
    """Return an engine; it connects on first use, and whoever creates it disposes of it.

    Args:
        settings: Pool sizes, timeouts and the URL.
    """
    command_timeout_ms = int(settings.database_command_timeout_s * 1000)
    engine = create_async_engine(
        database_url(settings),
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
        pool_timeout=settings.database_pool_timeout_s,
        pool_recycle=settings.database_pool_recycle_s,
        # LIFO lets idle connections reach the recycle age, so a quiet service holds few.
        pool_use_lifo=True,
        # Parameters are the clients' data: they stay out of error messages and logs.
        hide_parameters=True,
        connect_args={
            "timeout": settings.database_connect_timeout_s,
            "command_timeout": settings.database_command_timeout_s,
            "server_settings": {
                "application_name": settings.database_application_name,
                # The server gives up too: without it, a statement whose client is gone runs on.
                "statement_timeout": str(command_timeout_ms),
                "lock_timeout": str(int(settings.database_lock_timeout_s * 1000)),
                "idle_in_transaction_session_timeout": str(2 * command_timeout_ms),
            },
        },
    )
    event.listen(engine.sync_engine, "checkout", _replace_closed)
    return engine


def _replace_closed(connection: DBAPIConnection, record: object, proxy: object) -> None:
    """Never hand out a connection that the server has closed, such as after its restart.

    The driver hears of it at once, so this costs nothing; `pool_pre_ping` would ask the server before every
    unit of work, a third of the cost of a short read.
    """
    driver: asyncpg.Connection = connection.driver_connection
    if driver.is_closed():
        raise InvalidatePoolError("the server closed this connection")


@asynccontextmanager
async def driver_connection(engine: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection of the pool as the driver has it, for one hot read outside of a transaction.

    SQLAlchemy between a statement and the driver costs more than a short statement itself. What is read
    thousands of times a second goes past it; pool, limits and timeouts stay the same. Everything else uses
    a session.
    """
    connection = await engine.raw_connection()
    try:
        yield connection.driver_connection
    finally:
        # Nothing to roll back, so this awaits nothing: no transaction was begun.
        connection.close()


async def driver_of(session: AsyncSession) -> asyncpg.Connection:
    """Return the driver's connection of a session, inside its transaction, for hot statements.

    What goes this way is in the transaction of the session: it commits and rolls back with it.
    """
    transaction = session.sync_session.get_transaction()
    known: tuple[object, asyncpg.Connection] | None = session.info.get(driver_of)
    if known is not None and known[0] is transaction:
        return known[1]
    raw = await (await session.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    if not driver.is_in_transaction():
        # SQLAlchemy begins with its first statement. Without this, ours would commit by itself.
        await session.execute(text("SELECT"))
    session.info[driver_of] = (session.sync_session.get_transaction(), driver)
    return driver


def create_sessions(engine: AsyncEngine) -> Sessions:
    """Return the session factory; objects stay readable after commit, without a hidden reload."""
    return async_sessionmaker(engine, expire_on_commit=False)
