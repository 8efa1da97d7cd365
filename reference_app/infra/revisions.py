"""Which schema this code needs, and which one a database has."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

MIGRATIONS = Path(__file__).parent.parent / "migrations"


def config(connection: Connection | None = None) -> Config:
    """Return the Alembic configuration; for a new revision: `command.revision(config(...), "why")`.

    Args:
        connection: The connection that `env.py` works on.
    """
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    configuration.attributes["connection"] = connection
    return configuration


def head() -> str | None:
    """Return the newest revision that this code knows."""
    return ScriptDirectory.from_config(config()).get_current_head()


async def revision_of(engine: AsyncEngine) -> str | None:
    """Return the revision the database is at, or None where no migration has run."""
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
