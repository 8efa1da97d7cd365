"""A PostgreSQL database of one's own: empty, or cloned from a template that is built once."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from deskbook.services.ensuring import ensure
from deskbook.services.errors import ServicesError
from deskbook.services.keeper import Keeper, keeper, lock_key
from deskbook.services.templates import Template, ready_template, remove_old_templates

if TYPE_CHECKING:
    import asyncpg

__all__ = ["FreshDatabase", "Template", "fresh_database"]


def fresh_database(template: Template | None = None) -> FreshDatabase:
    """Give a database of one's own for the length of a `with` or `async with` block; the target is its address.

    Both forms work in a notebook cell, whose event loop is running; `async with` does not hold it up.

    The database is dropped at the end of the block, with connections that are still open. A process that dies
    inside the block leaves it behind until the next process asks for a database on that server: each database is
    claimed by an advisory lock that PostgreSQL frees with the session, so an unclaimed one can be dropped safely,
    also on a server named by DATABASE_URL.

    Args:
        template: what to clone; None for an empty database.

    Raises:
        ServicesError: there is no server, or its user may not create databases.
    """
    return FreshDatabase(template)


class FreshDatabase:
    """The context manager behind `fresh_database`; use once."""

    def __init__(self, template: Template | None = None) -> None:
        self._template = template
        self._made: _Made | None = None

    def __enter__(self) -> str:
        service = ensure("postgres").postgres
        assert service is not None
        kept = keeper(service.url, _remove_leftovers)
        source = ready_template(kept, self._template) if self._template is not None else None
        name = f"{_prefix(service.url)}{secrets.token_hex(6)}"
        kept.run(lambda connection: _create(connection, name, source))
        self._made = _Made(kept, name)
        return with_database(service.url, name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        made, self._made = self._made, None
        if made is not None and made.keeper.is_usable:
            made.keeper.run(lambda connection: _drop(connection, made.name))

    async def __aenter__(self) -> str:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)


@dataclass(frozen=True, slots=True)
class _Made:
    keeper: Keeper
    name: str


def with_database(url: str, name: str) -> str:
    """Return `url` with another database name."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{quote(name)}"))


def _prefix(url: str) -> str:
    """Return the start of our databases' names on this server.

    Advisory locks are local to a database: claims made through another maintenance database cannot be seen here,
    so its databases carry another prefix and are left alone.
    """
    maintenance = urlsplit(url).path
    return f"deskbook_fresh_{hashlib.sha256(maintenance.encode()).hexdigest()[:6]}_"


async def _create(connection: asyncpg.Connection, name: str, source: str | None) -> None:
    import asyncpg

    # Claimed before it exists, or another process would take it for a leftover.
    await connection.execute("SELECT pg_advisory_lock($1)", lock_key(name))
    try:
        await connection.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{source}"' if source else ""))
    except BaseException as error:
        await connection.execute("SELECT pg_advisory_unlock($1)", lock_key(name))
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            raise ServicesError(
                "The user in DATABASE_URL may not create databases, and every notebook and test needs one of its "
                "own. Let an administrator run `ALTER USER ... CREATEDB`, or unset DATABASE_URL to use the "
                "embedded server."
            ) from None
        raise


async def _drop(connection: asyncpg.Connection, name: str) -> None:
    await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await connection.execute("SELECT pg_advisory_unlock($1)", lock_key(name))


def _remove_leftovers(kept: Keeper) -> None:
    """Drop databases whose process has died, and templates nobody has used for a while."""
    prefix = _prefix(kept.url)

    async def remove(connection: asyncpg.Connection) -> None:
        rows = await connection.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix
        )
        for name in (row["datname"] for row in rows):
            if re.fullmatch(r"\w+", name) and await connection.fetchval(
                "SELECT pg_try_advisory_lock($1)", lock_key(name)
            ):
                await _drop(connection, name)
        await remove_old_templates(connection)

    kept.run(remove)
