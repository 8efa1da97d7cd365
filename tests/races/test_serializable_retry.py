"""Two doctors go off call at the same time, in every order of their statements on a real PostgreSQL."""

import asyncio

import pytest
from deskbook.races import SQLAlchemyGate, explore
from deskbook.services import fresh_database
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from reference_app.patterns.serializable_retry import RetriesExhausted, SerializableRetry


@pytest.fixture
async def engine():
    with fresh_database() as url:
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=4)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE doctors (id int PRIMARY KEY, on_call bool NOT NULL)"))
            await connection.execute(text("INSERT INTO doctors VALUES (1, true), (2, true)"))
        yield engine
        await engine.dispose()


def off_call(doctor):
    async def work(session):
        count = await session.scalar(text("SELECT count(*) FROM doctors WHERE on_call"))
        if count == 2:
            await session.execute(text(f"UPDATE doctors SET on_call = false WHERE id = {doctor}"))
        return count

    return lambda retry: retry(work)


async def go_off_call(engine, kind, **options):
    sessions = async_sessionmaker(engine)

    async def both_on_call():
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE doctors SET on_call = true"))
        return kind(sessions, max_tries=3, sleep=lambda seconds: asyncio.sleep(0))

    async def one_stays(retry, responses):
        async with engine.connect() as connection:
            count = await connection.scalar(text("SELECT count(*) FROM doctors WHERE on_call"))
        assert count >= 1, "nobody is on call"
        refused = [it for it in responses.values() if isinstance(it, RetriesExhausted)]
        assert len(refused) == retry.exhausted == 0, "a unit of work was given up"
        cancelled = [it for it in responses.values() if isinstance(it, asyncio.CancelledError)]
        assert retry.commits + len(cancelled) >= 2

    return await explore(
        both_on_call,
        {"A": off_call(1), "B": off_call(2)},
        invariant=one_stays,
        gate=SQLAlchemyGate(engine),
        **options,
    )


async def test_one_doctor_stays_in_every_order(engine):
    report = await go_off_call(engine, SerializableRetry, max_seconds=60)
    assert report.verdict == "exhausted", report


class OnlyRepeatable(SerializableRetry):
    async def _once(self, work):
        async with self._sessions() as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            result = await work(session)
            await session.commit()
        self.commits += 1
        return result


async def test_write_skew_under_repeatable_read_is_found(engine):
    report = await go_off_call(engine, OnlyRepeatable)
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.message == "nobody is on call"


async def test_a_unit_of_work_may_be_cancelled_at_every_statement(engine):
    report = await go_off_call(engine, SerializableRetry, cancel=["A"], preemption_bound=2, max_seconds=60)
    assert report.verdict == "bounded", report
