"""Two writers who add to one row, in every order of their statements on a real PostgreSQL."""

import asyncio

import pytest
from deskbook.races import SQLAlchemyGate, explore
from deskbook.services import fresh_database
from sqlalchemy import Column, Integer, MetaData, Table, select, text, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from reference_app.patterns.optimistic_version import OptimisticVersion, VersionConflict

COUNTERS = Table("counters", MetaData(), *(Column(name, Integer) for name in ("id", "n", "version")))


@pytest.fixture
async def engine():
    with fresh_database() as url:
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=4)
        async with engine.begin() as connection:
            await connection.run_sync(COUNTERS.metadata.create_all)
            await connection.execute(text("INSERT INTO counters VALUES (1, 0, 1)"))
        yield engine
        await engine.dispose()


async def count_twice(engine, kind, **options):
    sessions = async_sessionmaker(engine)

    async def at_zero():
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET n = 0, version = 1"))
        return kind(COUNTERS)

    def add_one(writes):
        return writes.modify(sessions, key=1, change=lambda row: {"n": row.n + 1}, max_tries=2)

    async def nothing_is_lost(writes, responses):
        async with engine.connect() as connection:
            n, version = (await connection.execute(text("SELECT n, version FROM counters"))).one()
        told = [it for it in responses.values() if isinstance(it, int)]
        assert len(set(told)) == len(told), "two writers were told the same version"
        cancelled = [it for it in responses.values() if isinstance(it, asyncio.CancelledError)]
        assert len(told) + len(cancelled) == 2
        assert len(told) <= n <= 2, f"{len(told)} writers were told yes, but n is {n}"
        assert version == n + 1

    return await explore(
        at_zero,
        {"A": add_one, "B": add_one},
        invariant=nothing_is_lost,
        gate=SQLAlchemyGate(engine),
        max_seconds=60,
        **options,
    )


async def test_nothing_is_lost_in_any_order(engine):
    report = await count_twice(engine, OptimisticVersion)
    assert report.verdict == "exhausted", report


async def test_nothing_is_lost_when_a_writer_is_cancelled_at_any_statement(engine):
    report = await count_twice(engine, OptimisticVersion, cancel=["A"], preemption_bound=2)
    assert report.verdict == "bounded", report


class LooksFirst(OptimisticVersion):
    async def update(self, session, *, key, expected_version, values):
        actual = await session.scalar(select(self._version).where(self._key == key))
        if actual != expected_version:
            raise VersionConflict(expected_version, actual)
        changed = update(COUNTERS).where(self._key == key).values({**values, "version": actual + 1})
        return await session.scalar(changed.returning(self._version))


async def test_a_check_before_the_write_is_found(engine):
    report = await count_twice(engine, LooksFirst)
    assert report.verdict == "counterexample", report
