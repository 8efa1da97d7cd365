"""Of two writers who read the same version one gets through, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import doctest
import functools
import inspect
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.schema import CreateSchema, DropSchema

from reference_app.patterns.optimistic_version import OptimisticVersion, VersionConflict

METADATA = MetaData()
NOTES = Table(
    "notes",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("text", Text),
    Column("version", Integer, nullable=False),
)
Sessions = async_sessionmaker[AsyncSession]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def database() -> AsyncIterator[Sessions]:
    """Give sessions on a schema of this test's own, with note 1 at version 1."""
    if "DATABASE_URL" not in os.environ:
        pytest.fail("Set DATABASE_URL to a PostgreSQL database where tests may make schemas.", pytrace=False)
    url = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql+asyncpg:", os.environ["DATABASE_URL"])
    schema = f"test_{uuid.uuid4().hex}"
    settings = {"search_path": schema, "application_name": schema, "statement_timeout": "20s"}
    engine = create_async_engine(url, pool_size=4, connect_args={"server_settings": settings})
    async with engine.begin() as connection:
        await connection.execute(CreateSchema(schema))
        await connection.run_sync(METADATA.create_all, checkfirst=False)
        await connection.execute(insert(NOTES).values(id=1, text="", version=1))
    try:
        yield async_sessionmaker(engine)
    finally:
        async with engine.begin() as connection:
            await connection.execute(DropSchema(schema, cascade=True))
        await engine.dispose()


async def until_one_waits(sessions: Sessions) -> None:
    """Return once PostgreSQL says that a statement of this test waits for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND application_name = current_setting('application_name')"
    )
    async with asyncio.timeout(10), sessions.begin() as session:
        while not await session.scalar(waiting):
            await session.execute(text("SELECT pg_stat_clear_snapshot()"))


async def note(sessions: Sessions) -> tuple[str, int]:
    async with sessions() as session:
        row = (await session.execute(select(NOTES.c.text, NOTES.c.version))).one()
        return row.text, row.version


async def the_second_writer_is_told(kind: type[OptimisticVersion]) -> bool:
    """Both have read version 1; the second writes while the first has not committed yet."""
    async with database() as sessions:
        writes = kind(NOTES)

        async def write(words: str) -> int:
            async with sessions.begin() as session:
                return await writes.update(session, key=1, expected_version=1, values={"text": words})

        async with sessions.begin() as first:
            assert await writes.update(first, key=1, expected_version=1, values={"text": "first"}) == 2
            second = asyncio.create_task(write("second"))
            await until_one_waits(sessions)
        await asyncio.wait([second], timeout=10)
        error = second.exception()
        if isinstance(error, VersionConflict):
            assert (error.expected, error.actual) == (1, 2)
            assert str(error) == "expected version 1, but the row has version 2"
            assert (writes.writes, writes.conflicts) == (1, 1)
        return error is not None and await note(sessions) == ("first", 2)


def test_the_second_writer_is_told_and_overwrites_nothing() -> None:
    assert asyncio.run(the_second_writer_is_told(OptimisticVersion))


class LooksFirst(OptimisticVersion):
    """A wrong twin: it compares in a SELECT, and others write between that and its UPDATE."""

    async def update(self, session: AsyncSession, *, key: Any, expected_version: int, values: Any) -> int:
        actual = await session.scalar(select(self._version).where(self._key == key))
        if actual != expected_version:
            raise VersionConflict(expected_version, actual)
        values = {**values, "version": self._version + 1}
        changed = update(NOTES).where(self._key == key).values(values)
        self.writes += 1
        return await session.scalar(changed.returning(self._version)) or 0


class DoesNotCount(OptimisticVersion):
    """A wrong twin: the right WHERE, but nobody looks whether it matched."""

    async def _write(self, session: AsyncSession, statement: Any, key: Any, expected: int) -> int:
        await session.execute(statement.where(self._key == key, self._version == expected))
        self.writes += 1
        return expected + 1


@pytest.mark.parametrize("twin", [LooksFirst, DoesNotCount])
def test_comparing_too_early_and_not_looking_at_the_count_are_rejected(twin: type[OptimisticVersion]) -> None:
    assert not asyncio.run(the_second_writer_is_told(twin))


@in_a_loop
async def test_a_deleted_row_is_a_conflict_that_says_so() -> None:
    async with database() as sessions:
        writes = OptimisticVersion(NOTES)
        async with sessions.begin() as session:
            with pytest.raises(VersionConflict, match="has version 1"):
                await writes.delete(session, key=1, expected_version=2)
            await writes.delete(session, key=1, expected_version=1)
            with pytest.raises(VersionConflict, match="no such row") as caught:
                await writes.update(session, key=1, expected_version=1, values={"text": "late"})
        assert caught.value.actual is None
        with pytest.raises(VersionConflict, match=r"^there is no such row"):
            await writes.modify(sessions, key=1, change=lambda row: {})


@in_a_loop
async def test_the_version_cannot_be_set_by_the_values() -> None:
    async with database() as sessions:
        async with sessions.begin() as session:
            values = {"text": "new", "version": 99}
            await OptimisticVersion(NOTES).update(session, key=1, expected_version=1, values=values)
        assert await note(sessions) == ("new", 2)


@in_a_loop
async def test_writers_that_meet_start_over_and_none_is_lost() -> None:
    async with database() as sessions:
        writes = OptimisticVersion(NOTES)
        append = lambda row: {"text": row.text + "x"}  # noqa: E731
        many = [writes.modify(sessions, key=1, change=append, max_tries=8) for _ in range(8)]
        versions = await asyncio.gather(*many)
        assert sorted(versions) == list(range(2, 10))
        assert await note(sessions) == ("x" * 8, 9)
        assert writes.writes == 8


@in_a_loop
async def test_tries_are_bounded() -> None:
    async with database() as sessions:
        writes, calls = OptimisticVersion(NOTES), []

        async def overtake() -> None:
            async with sessions.begin() as session:
                await session.execute(update(NOTES).values(version=NOTES.c.version + 1))

        def change(row: Any) -> dict[str, Any]:
            calls.append(row.version)
            return {"text": "mine"}

        class Overtaken(OptimisticVersion):
            async def update(self, session: AsyncSession, **arguments: Any) -> int:
                await overtake()
                return await super().update(session, **arguments)

        writes = Overtaken(NOTES)
        with pytest.raises(VersionConflict, match="expected version 3, but the row has version 4"):
            await writes.modify(sessions, key=1, change=change, max_tries=3)
        assert (calls, writes.conflicts) == ([1, 2, 3], 3)
        assert (await note(sessions))[0] == ""
        with pytest.raises(ValueError, match="at least 1"):
            await writes.modify(sessions, key=1, change=change, max_tries=0)


@in_a_loop
async def test_other_isolation_levels_refuse_the_second_writer_too() -> None:
    async with database() as sessions:
        writes = OptimisticVersion(NOTES)
        async with sessions() as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            await session.execute(select(NOTES))
            async with sessions.begin() as other:
                await writes.update(other, key=1, expected_version=1, values={"text": "first"})
            with pytest.raises(DBAPIError) as caught:
                await writes.update(session, key=1, expected_version=1, values={"text": "second"})
        assert getattr(caught.value.orig, "sqlstate", None) == "40001"


@in_a_loop
async def test_a_cancelled_writer_leaves_the_row_and_its_lock_as_they_were() -> None:
    async with database() as sessions:
        writes = OptimisticVersion(NOTES)

        async def write() -> int:
            return await writes.modify(sessions, key=1, change=lambda row: {"text": "never"})

        async with sessions.begin() as first:
            await writes.update(first, key=1, expected_version=1, values={"text": "first"})
            second = asyncio.create_task(write())
            await until_one_waits(sessions)
            second.cancel()
            await asyncio.wait([second], timeout=10)
        assert second.cancelled()
        assert sessions.kw["bind"].pool.checkedout() == 0
        async with sessions.begin() as session:
            assert await writes.update(session, key=1, expected_version=2, values={}) == 3


def test_a_row_is_tried_five_times_unless_told() -> None:
    assert inspect.signature(OptimisticVersion.modify).parameters["max_tries"].default == 5


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[OptimisticVersion.__module__]).failed == 0
