"""The few statements on whole databases, with their claims."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from deskbook.services.errors import ServicesError
from deskbook.services.keeper import lock_key

if TYPE_CHECKING:
    import asyncpg

_EMPTY = "template0"


def with_database(url: str, name: str) -> str:
    """Return `url` with another database name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(name)}"))


async def create_database(connection: asyncpg.Connection, name: str, source: str | None = None) -> None:
    """Create a database, empty or as a clone of `source`.

    Raises:
        ServicesError: The user of the connection may not create databases.
    """
    import asyncpg

    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source or _EMPTY}"')
    except asyncpg.InsufficientPrivilegeError:
        raise ServicesError(
            "The user in DATABASE_URL may not create databases; each notebook and test needs one of its own.",
            "Let an administrator run `ALTER ROLE ... CREATEDB`, or unset it to use the embedded server.",
        ) from None


async def drop_database(connection: asyncpg.Connection, name: str) -> None:
    """Drop a database, ending connections to it; it may be gone already."""
    await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def claim(connection: asyncpg.Connection, name: str) -> bool:
    """Try to take the advisory lock that says a database is in use; it lasts as long as the session."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock_key(name)))


async def release(connection: asyncpg.Connection, name: str) -> None:
    """Give a claim back."""
    await connection.execute("SELECT pg_advisory_unlock($1)", lock_key(name))


async def drop_unclaimed(connection: asyncpg.Connection, name: str, claimed_as: str) -> None:
    """Drop a database unless a living session has claimed it; what cannot be dropped is left."""
    import asyncpg

    if not re.fullmatch(r"\w+", name) or not await claim(connection, claimed_as):
        return
    try:
        with contextlib.suppress(asyncpg.PostgresError):
            await drop_database(connection, name)
    finally:
        await release(connection, claimed_as)
