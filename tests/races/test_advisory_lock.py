"""Two transactions want the third watchlist, in every order of their statements on a real PostgreSQL."""

import pytest
from deskbook.races import SQLAlchemyGate, explore
from deskbook.services import fresh_database
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from reference_app.patterns import advisory_lock
from reference_app.patterns.advisory_lock import AdvisoryLocks


@pytest.fixture
async def engine():
    with fresh_database() as url:
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=6)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE watchlists (owner text)"))
        yield engine
        await engine.dispose()


async def both_add_one(engine, kind, names=(("ann",), ("ann",)), **options):
    sessions = async_sessionmaker(engine)

    async def two_watchlists():
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM watchlists"))
            await connection.execute(text("INSERT INTO watchlists VALUES ('ann'), ('ann')"))
        return kind("watchlists")

    def add_one(names):
        async def request(locks):
            async with sessions.begin() as session:
                await locks.take(session, *names)
                if await session.scalar(text("SELECT count(*) FROM watchlists")) < 3:
                    await session.execute(text("INSERT INTO watchlists VALUES ('ann')"))

        return request

    async def at_most_three(locks, responses):
        async with engine.connect() as connection:
            count = await connection.scalar(text("SELECT count(*) FROM watchlists"))
        assert count <= 3, f"{count} watchlists"
        for response in responses.values():
            assert not isinstance(response, Exception), repr(response)

    first, second = (add_one(it) for it in names)
    return await explore(
        two_watchlists,
        {"A": first, "B": first if names[0] == names[1] else second},
        invariant=at_most_three,
        gate=SQLAlchemyGate(engine),
        max_seconds=600,
        **options,
    )


async def test_three_are_the_limit_with_at_most_two_preemptions(engine):
    report = await both_add_one(engine, AdvisoryLocks, preemption_bound=2)
    assert report.verdict == "bounded", report


@pytest.mark.prove
async def test_three_are_the_limit_in_every_order(engine):
    report = await both_add_one(engine, AdvisoryLocks)
    assert report.verdict == "exhausted", report


async def test_two_names_in_two_orders_do_not_deadlock(engine):
    report = await both_add_one(
        engine, AdvisoryLocks, names=[("ann", "bob"), ("bob", "ann")], preemption_bound=1
    )
    assert report.verdict == "bounded", report


async def test_a_transaction_that_is_cancelled_at_any_statement_leaves_the_limit(engine):
    report = await both_add_one(engine, AdvisoryLocks, cancel=["A"], preemption_bound=1)
    assert report.verdict == "bounded", report


class InItsOwnTransaction(AdvisoryLocks):
    async def take(self, session, *names):
        async with AsyncSession(session.bind) as own, own.begin():
            await super().take(own, *names)


class UnlocksBeforeTheCommit(AdvisoryLocks):
    """The lock of a session, given back by the function that has it, as `finally` invites to."""

    async def take(self, session, *names):
        for name in names:
            values = {"lock_id": self.lock_id(name)}
            await session.execute(text("SELECT pg_advisory_lock(:lock_id)"), values)
            real_scalar = session.scalar

            async def scalar_then_unlock(*arguments, values=values, real_scalar=real_scalar):
                try:
                    return await real_scalar(*arguments)
                finally:
                    await session.execute(text("SELECT pg_advisory_unlock(:lock_id)"), values)

            session.scalar = scalar_then_unlock


@pytest.mark.parametrize("twin", [InItsOwnTransaction, UnlocksBeforeTheCommit])
async def test_a_lock_that_ends_before_the_commit_is_found(engine, twin):
    report = await both_add_one(engine, twin)
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.message == "4 watchlists"


class InTheOrderGiven(AdvisoryLocks):
    async def take(self, session, *names):
        for name in names:
            await session.execute(advisory_lock._LOCK, {"lock_id": self.lock_id(name)})


async def test_locking_in_the_order_given_is_found(engine):
    report = await both_add_one(engine, InTheOrderGiven, names=[("ann", "bob"), ("bob", "ann")])
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.kind == "deadlock"
