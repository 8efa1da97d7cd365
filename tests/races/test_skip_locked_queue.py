"""Two workers, in every order of their statements on a real PostgreSQL."""

import pytest
from deskbook.races import SQLAlchemyGate, explore
from deskbook.services import fresh_database
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from reference_app.patterns import skip_locked_queue
from reference_app.patterns.skip_locked_queue import Job, JobQueue


@pytest.fixture
async def engine():
    with fresh_database() as url:
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=4)
        async with engine.begin() as connection:
            await connection.execute(text(skip_locked_queue.TABLE))
            await connection.execute(text("CREATE TABLE effects (payload text)"))
        yield engine
        await engine.dispose()


async def take_effect(session, job):
    await session.execute(text("INSERT INTO effects VALUES (:payload)"), {"payload": job.payload})


async def work(engine, requests, *, kind=JobQueue, payloads, **options):
    sessions = async_sessionmaker(engine)

    async def fresh_queue():
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM queue"))
            await connection.execute(text("DELETE FROM effects"))
            for payload in payloads:
                await skip_locked_queue.put(connection, payload, delay_s=-1)
        return kind(sessions)

    async def once_or_not_yet(queue, responses):
        async with engine.connect() as connection:
            left = (await connection.scalars(text("SELECT payload FROM queue"))).all()
            effects = (await connection.scalars(text("SELECT payload FROM effects"))).all()
        for response in responses.values():
            assert not isinstance(response, Exception), repr(response)
        assert len(set(effects)) == len(effects), "a job took effect twice"
        assert sorted([*left, *effects]) == sorted(payloads), "a job is lost"

    return await explore(
        fresh_queue,
        requests,
        invariant=once_or_not_yet,
        gate=SQLAlchemyGate(engine),
        max_seconds=600,
        **options,
    )


def worker(queue):
    return queue.work_once(take_effect)


async def after_the_lease(queue):
    """Work once the lease of whoever has the job is over."""
    async with queue._sessions.begin() as session:
        await session.execute(text("UPDATE queue SET not_before = now() - interval '1 s'"))
    return await queue.work_once(take_effect)


def all_but_late_timeouts(report):
    """Every order was tried; a timeout strikes only a request that waits, and the verdict says so."""
    assert report.verdict == "bounded", report
    assert "a timeout strikes only a request that waits" in str(report), report


async def test_one_job_is_not_lost_or_done_twice_in_any_order(engine):
    report = await work(engine, {"A": worker, "B": worker}, payloads=["a"])
    all_but_late_timeouts(report)


@pytest.mark.prove
async def test_two_jobs_are_not_lost_or_done_twice_in_any_order(engine):
    report = await work(engine, {"A": worker, "B": worker}, payloads=["a", "b"], preemption_bound=3)
    assert report.verdict == "bounded", report


async def test_a_worker_that_is_too_slow_takes_no_effect_in_any_order(engine):
    requests = {"A": worker, "B": after_the_lease}
    report = await work(engine, requests, payloads=["a"], preemption_bound=1)
    assert report.verdict == "bounded", report


async def test_a_worker_that_is_cancelled_at_any_statement_loses_nothing(engine):
    report = await work(engine, {"A": worker}, payloads=["a"], cancel=["A"])
    all_but_late_timeouts(report)


class MarksNothing(JobQueue):
    async def work_once(self, handler):
        query = text("SELECT id, payload, tries, token FROM queue ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED")
        async with self._sessions.begin() as session:
            taken = (await session.execute(query)).all()
        for row in taken:
            async with self._sessions.begin() as session:
                await handler(session, Job(*row))
                await session.execute(text("DELETE FROM queue WHERE id = :id"), {"id": row.id})
        return bool(taken)


class EndsById(JobQueue):
    async def work_once(self, handler):
        async with self._sessions.begin() as session:
            taken = (await session.execute(self._take, self._taking)).all()
        for row in taken:
            async with self._sessions.begin() as session:
                await handler(session, Job(*row))
                await session.execute(text("DELETE FROM queue WHERE id = :id"), {"id": row.id})
        return bool(taken)


async def test_a_lock_that_ends_before_the_work_is_found(engine):
    report = await work(engine, {"A": worker, "B": worker}, kind=MarksNothing, payloads=["a"])
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.message == "a job took effect twice"


async def test_ending_a_job_without_its_token_is_found(engine):
    requests = {"A": worker, "B": after_the_lease}
    report = await work(engine, requests, kind=EndsById, payloads=["a"])
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.message == "a job took effect twice"
