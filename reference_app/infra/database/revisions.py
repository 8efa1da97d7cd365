"""Which schema this code needs, and which one a database has, without importing Alembic.

The service asks at every start; Alembic would add a quarter of its import time. A test holds both to agree.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def head() -> str:
    """Return the newest revision that this code knows: the number in front of the last file name."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


async def revision_of(engine: AsyncEngine) -> str | None:
    """Return the revision the database is at, or None where no migration has run."""
    async with engine.connect() as connection:
        if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision
