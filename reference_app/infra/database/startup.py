"""What must be true before the first request, said in one sentence where it is not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from reference_app.infra.database.revisions import head, revision_of
from reference_app.settings import Settings, database_url

logger = logging.getLogger(__name__)

#: SQLSTATE of a server that is starting, stopping or full, and of connections it broke.
AWAY = ("08", "53", "57P")
LOOK_AGAIN_S = 0.25


class StartupError(Exception):
    """The service cannot start; the text says what to do and shows no password."""


class DatabaseAway(StartupError):
    """The database cannot be reached at this moment; later the same start may succeed."""


@contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Turn what a database that cannot be used raises into one sentence.

    Args:
        settings: They name the database that the block uses.

    Raises:
        StartupError: In place of the error of the driver.
    """
    place = _place(settings)
    try:
        yield
    except TimeoutError:
        raise DatabaseAway(
            f"The database {place} did not answer in time. Check host and port in DATABASE_URL."
        ) from None
    except (OSError, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        reason = reason.split(">: ", 1)[-1]  # SQLAlchemy puts the class of the driver's error in front
        state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
        kind = DatabaseAway if isinstance(error, OSError) or state.startswith(AWAY) else StartupError
        raise kind(
            f"The database {place} cannot be used: {reason}. Check DATABASE_URL and that the server runs."
        ) from None


async def check_database(engine: AsyncEngine, settings: Settings) -> None:
    """Connect once, and compare the schema with what this code needs.

    Args:
        engine: Connects to the database that the settings name.
        settings: They say for how long an answer is waited for.

    Raises:
        StartupError: The database does not answer, refuses, or is at another revision.
    """
    with explained(settings):
        async with asyncio.timeout(settings.database_connect_timeout_s):
            revision = await revision_of(engine)
    if revision != head():
        raise StartupError(
            f"The database {_place(settings)} is at revision {revision or 'none'}, this code needs {head()}. "
            "Run: python -m reference_app.infra.migrate"
        )


async def wait_for_database(engine: AsyncEngine, settings: Settings) -> None:
    """Check the database as `check_database` does, and wait for one that is away.

    A worker that fails to start ends the whole service: uvicorn and gunicorn take it for a fault of the code.
    Without the wait, one worker that dies while the database restarts would take the others along.

    Args:
        engine: Connects to the database that the settings name.
        settings: `database_start_wait_s` says for how long it is waited for.

    Raises:
        StartupError: Something is wrong that waiting does not mend, or the database is still away.
    """
    deadline_s = time.monotonic() + settings.database_start_wait_s
    is_told = False
    while True:
        try:
            return await check_database(engine, settings)
        except DatabaseAway as away:
            if time.monotonic() >= deadline_s:
                raise
            if not is_told:
                logger.warning("%s Trying again for %g s.", away, settings.database_start_wait_s)
            is_told = True
        await asyncio.sleep(LOOK_AGAIN_S)


def _place(settings: Settings) -> str:
    url = database_url(settings)
    return f"{url.host or 'on the local socket'}:{url.port or 5432}/{url.database}"
