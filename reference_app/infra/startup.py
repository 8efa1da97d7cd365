"""What must be true before the first request, said in one sentence where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from reference_app.infra.revisions import head, revision_of
from reference_app.settings import Settings, database_url


class StartupError(Exception):
    """The service cannot start; the text says what to do and shows no password."""


@contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Turn what a database that cannot be used raises into one sentence.

    Args:
        settings: Whose database the block uses.

    Raises:
        StartupError: In place of the error of the driver.
    """
    place = _place(settings)
    try:
        yield
    except TimeoutError:
        raise StartupError(
            f"The database {place} did not answer in time. Check host and port in DATABASE_URL."
        ) from None
    except (OSError, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        reason = reason.split(">: ", 1)[-1]  # SQLAlchemy puts the class of the driver's error in front
        raise StartupError(
            f"The database {place} cannot be used: {reason}. Check DATABASE_URL and that the server runs."
        ) from None


async def check_database(engine: AsyncEngine, settings: Settings) -> None:
    """Connect once, and compare the schema with what this code needs.

    Args:
        engine: The engine of the app.
        settings: For the place of the database and the time to wait.

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


def _place(settings: Settings) -> str:
    url = database_url(settings)
    return f"{url.host or 'on the local socket'}:{url.port or 5432}/{url.database}"
