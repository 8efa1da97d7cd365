"""A PostgreSQL database of one's own: empty, or cloned from a template that is built once."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deskbook.services import statements
from deskbook.services.access import ensure
from deskbook.services.both_ways import BothWays
from deskbook.services.keeper import Keeper, keeper
from deskbook.services.templates import Template, ready_template, remove_old_templates

if TYPE_CHECKING:
    import asyncpg


def fresh_database(template: Template | None = None) -> FreshDatabase:
    """Give a database of one's own for a `with` or `async with` block; the target is its address.

    Both forms work in a notebook cell, whose event loop is running; `async with` does not hold the loop up.

    The database is dropped at the end of the block, with connections that are still open. A process that dies
    inside the block leaves it behind until the next process asks for a database on that server: each database
    is claimed by an advisory lock that PostgreSQL frees with the session, so an unclaimed one can be dropped
    safely, also on a server named by DATABASE_URL.

    Args:
        template: What to clone; None for an empty database.

    Raises:
        ServicesError: There is no server, or its user may not create databases.
    """
    return FreshDatabase(template)


class FreshDatabase(BothWays[str]):
    """The context manager behind `fresh_database`."""

    def __init__(self, template: Template | None = None) -> None:
        self._template = template
        self._keeper: Keeper | None = None
        self._name = ""

    def _open(self) -> str:
        service = ensure("postgres").postgres
        assert service is not None
        kept = keeper(service.url, _remove_leftovers)
        source = ready_template(kept, self._template) if self._template is not None else None
        self._name = f"{_prefix(service.url)}{secrets.token_hex(6)}"
        kept.run(lambda connection: _create(connection, self._name, source))
        self._keeper = kept
        return statements.with_database(service.url, self._name)

    def _close(self) -> None:
        kept, self._keeper = self._keeper, None
        # Without its connection the claim is lost too: an embedded server is gone with its data, and on any
        # other the next process removes the database.
        if kept is not None and kept.is_usable:
            kept.run(lambda connection: _drop(connection, self._name))


def _prefix(url: str) -> str:
    """Return the start of our databases' names on this server.

    Advisory locks are local to a database: claims made through another maintenance database cannot be seen
    here, so its databases carry another prefix and are left alone.
    """
    maintenance = urlsplit(url).path
    return f"deskbook_fresh_{hashlib.sha256(maintenance.encode()).hexdigest()[:6]}_"


async def _create(connection: asyncpg.Connection, name: str, source: str | None) -> None:
    # Claimed before it exists, or another process would take it for a leftover.
    await statements.claim(connection, name)
    try:
        await statements.create_database(connection, name, source)
    except BaseException:
        await statements.release(connection, name)
        raise


async def _drop(connection: asyncpg.Connection, name: str) -> None:
    await statements.drop_database(connection, name)
    await statements.release(connection, name)


def _remove_leftovers(kept: Keeper) -> None:
    """Drop databases whose process has died, and templates nobody has used for a while."""

    async def remove(connection: asyncpg.Connection) -> None:
        rows = await connection.fetch(
            "SELECT datname FROM pg_database "
            "WHERE starts_with(datname, $1) AND pg_has_role(datdba, 'MEMBER')",
            _prefix(kept.url),
        )
        for row in rows:
            await statements.drop_unclaimed(connection, row["datname"], row["datname"])
        await remove_old_templates(connection)

    kept.run(remove)
