"""Bring a database to the newest schema; the command is `python -m reference_app.infra.migrate`.

The migrations are inside the package (`reference_app/migrations`), so an installed service can migrate itself
and there is no alembic.ini whose path must be right.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from reference_app.infra.database.revisions import MIGRATIONS
from reference_app.infra.database.startup import StartupError, explained
from reference_app.patterns.advisory_lock import AdvisoryLocks, LockTimeout
from reference_app.settings import database_url, load_settings

#: Alembic keeps the running migration in module globals: two at once in one process would mix them up.
_one_at_a_time = threading.Lock()
_POLL_S = 0.01

#: Without this lock two starting processes both read "no migration has run", and one dies at CREATE TABLE.
#: Ten minutes: the other one may be at a long migration.
LOCKS = AdvisoryLocks("reference_app.infra.migrate", wait_s=600)


def config(connection: Connection | None = None) -> Config:
    """Return the Alembic configuration; for a new revision: `command.revision(config(...), "why")`.

    Args:
        connection: The connection that `env.py` works on.
    """
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    configuration.attributes["connection"] = connection
    return configuration


async def upgrade_async(url: str, revision: str = "head") -> None:
    """Migrate the database; all steps are one transaction, so a failing step leaves nothing behind.

    No statement timeout here: a migration may take its time.

    Args:
        url: A PostgreSQL URL in any common spelling.
        revision: The number of the last migration to run, such as "0011".

    Raises:
        SettingsError: The URL is no PostgreSQL URL.
        StartupError: The database cannot be used, or a step fails.
    """
    settings = load_settings(database_url=url)
    engine = create_async_engine(
        database_url(settings),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"timeout": settings.database_connect_timeout_s},
    )
    # Asked again and again: waiting inside a thread's lock would stop the loop of whoever holds it.
    while not _one_at_a_time.acquire(blocking=False):  # noqa: ASYNC110 - shared with other threads
        await asyncio.sleep(_POLL_S)
    try:
        with explained(settings):
            async with engine.begin() as connection:
                # The session stays inside the connection's transaction, and so does the lock.
                async with AsyncSession(connection) as session:
                    await LOCKS.take(session, "schema")
                await connection.run_sync(_upgrade, revision)
    except LockTimeout:
        raise StartupError("Another process has been migrating this database for ten minutes.") from None
    finally:
        _one_at_a_time.release()
        await engine.dispose()


def upgrade(url: str, revision: str = "head") -> None:
    """Do the same and wait for it, in a script as well as in a notebook cell whose loop is running.

    Args:
        url: A PostgreSQL URL in any common spelling.
        revision: The number of the last migration to run, such as "0011".
    """
    # A thread with a loop of its own: asyncio.run fails where a loop is already running.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="migrate") as thread:
        thread.submit(asyncio.run, upgrade_async(url, revision)).result()


def _upgrade(connection: Connection, revision: str) -> None:
    command.upgrade(config(connection), revision)
