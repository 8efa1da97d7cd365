"""Bring a database to the newest schema, from Python or with `python -m reference_app.infra.migrate`.

The migrations are inside the package (`reference_app/migrations`), so an installed service can migrate itself
and there is no alembic.ini whose path must be right.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from reference_app.settings import SettingsError, load_settings, normalise_database_url

MIGRATIONS = Path(__file__).parent.parent / "migrations"

#: Any constant that no other advisory lock of this database uses ("desk" in ASCII).
_LOCK_KEY = 0x6465736B


def config(connection: Connection | None = None) -> Config:
    """Return the Alembic configuration; for a new revision: `command.revision(config(...), "why")`.

    Args:
        connection: The connection that `env.py` works on.
    """
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.attributes["connection"] = connection
    return configuration


def head() -> str | None:
    """Return the newest revision that this code knows."""
    return ScriptDirectory.from_config(config()).get_current_head()


async def upgrade_async(url: str, revision: str = "head") -> None:
    """Migrate the database; all steps are one transaction, so a failing step leaves nothing behind.

    Args:
        url: A PostgreSQL URL in any common spelling.
        revision: The revision to reach.

    Raises:
        SettingsError: The URL is no PostgreSQL URL.
    """
    try:
        engine = create_async_engine(normalise_database_url(url), poolclass=NullPool, hide_parameters=True)
    except ValueError as error:
        raise SettingsError(f"The database URL is not valid: {error}.") from None
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()


def upgrade(url: str, revision: str = "head") -> None:
    """Do the same and wait for it, in a script as well as in a notebook cell whose loop is running.

    Args:
        url: A PostgreSQL URL in any common spelling.
        revision: The revision to reach.
    """
    # A thread with a loop of its own: asyncio.run fails where a loop is already running.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="migrate") as thread:
        thread.submit(asyncio.run, upgrade_async(url, revision)).result()


async def revision_of(engine: AsyncEngine) -> str | None:
    """Return the revision the database is at, or None where no migration has run."""
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def _upgrade(connection: Connection, revision: str) -> None:
    # Without this lock two starting processes both read "no migration has run", and one dies at CREATE TABLE.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    command.upgrade(config(connection), revision)


def main() -> None:
    """Migrate the database that DATABASE_URL names."""
    try:
        url = load_settings().database_url.get_secret_value()
        asyncio.run(upgrade_async(url))
    except (SettingsError, OSError) as error:
        sys.exit(f"migrate: {error}")


if __name__ == "__main__":
    main()
