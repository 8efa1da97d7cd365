"""Template databases: built once a server, then cloned in about 20 ms."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deskbook.services import statements
from deskbook.services.errors import ServicesError
from deskbook.services.external import in_thread
from deskbook.services.keeper import Keeper

if TYPE_CHECKING:
    import asyncpg

_READY = "deskbook_template_"
_BUILDING = "deskbook_building_"
_WAIT_TIMEOUT_S = 300.0
_POLL_S = 0.02
_UNUSED_DAYS = 7


@dataclass(frozen=True, slots=True)
class Template:
    """What a cloned database holds.

    Attributes:
        name: Any text that identifies the content; it is shortened to fit a database name. Put a hash of
            migrations and data in it, so that other content has another name.
        build: Called with the address of an empty database, once a server and name; a plain or a coroutine
            function. It runs in a thread without an event loop, so it may call `asyncio.run`. If it fails or
            its process dies, the half-built database is dropped and the next caller builds again. End it with
            ANALYZE where query plans matter: statistics are cloned too.
    """

    name: str
    build: Callable[[str], Awaitable[None] | None]

    @property
    def database(self) -> str:
        """Name of the template database: readable start, hash of the whole, below PostgreSQL's 63 bytes."""
        readable = re.sub(r"\W+", "_", self.name.lower(), flags=re.ASCII)[:24]
        return f"{_READY}{readable}_{hashlib.sha256(self.name.encode()).hexdigest()[:12]}"


#: Without it two threads of one process would both pass the advisory lock, which one session may take twice.
_one_at_a_time = threading.Lock()
_noted: set[tuple[int, str]] = set()


def ready_template(kept: Keeper, template: Template) -> str:
    """Build the template if this server has none, and return the name of its database.

    Processes wait for the one that builds. It is built under another name and renamed when complete, so what
    has the final name is never half-built.

    Raises:
        ServicesError: Another process has been building for too long.
        Exception: Whatever `template.build` raises.
    """
    name = template.database
    with _one_at_a_time:
        if (id(kept), name) in _noted and _is_there(kept, name):
            return name
        _take_claim(kept, name)
        try:
            if not _is_there(kept, name):
                _build(kept, template)
            kept.run(lambda connection: _note_use(connection, name))
        finally:
            if kept.is_usable:
                kept.run(lambda connection: statements.release(connection, name))
        _noted.add((id(kept), name))
    return name


def _take_claim(kept: Keeper, name: str) -> None:
    """Ask again and again for the advisory lock: waiting inside PostgreSQL would block the keeper."""
    deadline = time.monotonic() + _WAIT_TIMEOUT_S
    while not kept.run(lambda connection: statements.claim(connection, name)):
        if time.monotonic() > deadline:
            raise ServicesError(
                f"Another process has been building the template {name} for {_WAIT_TIMEOUT_S:.0f} s.",
                "End it, or run `deskbook services stop`, then try again.",
            )
        time.sleep(_POLL_S)


def _is_there(kept: Keeper, name: str) -> bool:
    query = "SELECT 1 FROM pg_database WHERE datname = $1"
    return bool(kept.run(lambda connection: connection.fetchval(query, name)))


def _build(kept: Keeper, template: Template) -> None:
    building = template.database.replace(_READY, _BUILDING)

    async def start(connection: asyncpg.Connection) -> None:
        await statements.drop_database(connection, building)
        await statements.create_database(connection, building)

    async def finish(connection: asyncpg.Connection) -> None:
        # A connection that `build` left open would forbid renaming and cloning.
        await connection.execute(f'ALTER DATABASE "{building}" WITH ALLOW_CONNECTIONS false')
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = $1 AND backend_type = 'client backend'",
            building,
        )
        await connection.execute(f'ALTER DATABASE "{building}" RENAME TO "{template.database}"')

    kept.run(start)
    try:
        in_thread(lambda: _call(template.build, statements.with_database(kept.url, building)))
    except BaseException:
        if kept.is_usable:
            kept.run(lambda connection: statements.drop_database(connection, building))
        raise
    kept.run(finish)


def _call(build: Callable[[str], Awaitable[None] | None], url: str) -> None:
    result = build(url)
    if inspect.isawaitable(result):

        async def wait() -> None:
            await result

        asyncio.run(wait())


async def _note_use(connection: asyncpg.Connection, name: str) -> None:
    today = await connection.fetchval("SELECT current_date::text")
    await connection.execute(f"COMMENT ON DATABASE \"{name}\" IS 'deskbook template, last used {today}'")


async def remove_old_templates(connection: asyncpg.Connection) -> None:
    """Drop templates unused for a week, and half-built ones whose builder died.

    On a server that stays (DATABASE_URL) every change of migrations leaves a template behind.
    """
    rows = await connection.fetch(
        """
        SELECT datname FROM pg_database
        WHERE pg_has_role(datdba, 'MEMBER') AND (
            starts_with(datname, $1)
            OR starts_with(datname, $2) AND substring(
                shobj_description(oid, 'pg_database') FROM 'last used (\\d{4}-\\d\\d-\\d\\d)'
            )::date < current_date - $3::int
        )
        """,
        _BUILDING,
        _READY,
        _UNUSED_DAYS,
    )
    for name in (row["datname"] for row in rows):
        await statements.drop_unclaimed(connection, name, claimed_as=name.replace(_BUILDING, _READY))
