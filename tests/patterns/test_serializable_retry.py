"""What was returned is committed, and the order of transactions holds: on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import doctest
import functools
import inspect
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.schema import CreateSchema, DropSchema

from reference_app.patterns.serializable_retry import RetriesExhausted, SerializableRetry

METADATA = MetaData()
ON_CALL = Table("doctors", METADATA, Column("id", Integer, primary_key=True), Column("on_call", Integer))
Sessions = async_sessionmaker[AsyncSession]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def database() -> AsyncIterator[Sessions]:
    """Give sessions on a schema of this test's own, with two doctors on call."""
    if "DATABASE_URL" not in os.environ:
        pytest.fail(
            "Set DATABASE_URL to a PostgreSQL database in which tests may make schemas.", pytrace=False
        )
    url = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql+asyncpg:", os.environ["DATABASE_URL"])
    schema = f"test_{uuid.uuid4().hex}"
    settings = {"search_path": schema, "lock_timeout": "20s", "statement_timeout": "20s"}
    engine = create_async_engine(url, pool_size=4, connect_args={"server_settings": settings})
    async with engine.begin() as connection:
        await connection.execute(CreateSchema(schema))
        await connection.run_sync(METADATA.create_all, checkfirst=False)
        await connection.execute(insert(ON_CALL), [{"id": 1, "on_call": 1}, {"id": 2, "on_call": 1}])
    try:
        yield async_sessionmaker(engine)
    finally:
        async with engine.begin() as connection:
            await connection.execute(DropSchema(schema, cascade=True))
        await engine.dispose()


async def on_call(sessions: Sessions) -> int:
    async with sessions() as session:
        return await session.scalar(select(func.sum(ON_CALL.c.on_call))) or 0


async def fail(session: AsyncSession, sqlstate: str) -> None:
    """Let the server itself end the statement with this SQLSTATE."""
    await session.execute(
        text(f"DO $$ BEGIN RAISE EXCEPTION 'asked for' USING ERRCODE = '{sqlstate}'; END $$")
    )


async def no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


async def one_doctor_stays(retry: type[SerializableRetry]) -> bool:
    """Both doctors see two on call, both write that they go home, then both commit: does one stay?"""
    async with database() as sessions:
        both_have_looked, both_have_written = asyncio.Barrier(2), asyncio.Barrier(2)
        came_before: set[int] = set()

        def go_home(doctor: int) -> Callable[[AsyncSession], Awaitable[None]]:
            async def work(session: AsyncSession) -> None:
                is_first_run = doctor not in came_before
                came_before.add(doctor)
                count = await session.scalar(select(func.sum(ON_CALL.c.on_call)))
                if is_first_run:
                    await asyncio.wait_for(both_have_looked.wait(), 10)
                if count == 2:
                    await session.execute(update(ON_CALL).where(ON_CALL.c.id == doctor).values(on_call=0))
                if is_first_run:  # so it is a COMMIT that fails, and no statement
                    await asyncio.wait_for(both_have_written.wait(), 10)

            return work

        run = retry(sessions, sleep=no_wait)
        await asyncio.gather(run(go_home(1)), run(go_home(2)))
        assert (run.commits, run.exhausted) == (2, 0)
        return await on_call(sessions) == 1 and run.conflicts == 1


def test_a_rule_over_rows_that_are_only_read_is_kept() -> None:
    assert asyncio.run(one_doctor_stays(SerializableRetry))


class OnlyRepeatable(SerializableRetry):
    """A wrong twin: snapshots are stable, 40001 exists here too, and write skew goes through."""

    async def _once(self, work: Callable[[AsyncSession], Awaitable[Any]]) -> Any:
        async with self._sessions() as session:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            result = await work(session)
            await session.commit()
        self.commits += 1
        return result


def test_repeatable_read_is_rejected() -> None:
    assert not asyncio.run(one_doctor_stays(OnlyRepeatable))


class CommitsOutside(SerializableRetry):
    """A wrong twin: it retries what the work raises, and the COMMIT comes after."""

    async def __call__(self, work: Callable[[AsyncSession], Awaitable[Any]]) -> Any:
        session = self._sessions()

        async def first(_: AsyncSession) -> Any:
            await session.rollback()
            await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            return await work(session)

        try:
            result = await super().__call__(first)
            await session.commit()
            return result
        finally:
            await session.close()


def test_a_retry_that_leaves_the_commit_out_is_rejected() -> None:
    with pytest.raises(DBAPIError, match="could not serialize"):
        asyncio.run(one_doctor_stays(CommitsOutside))


async def swallowed_errors_are_heard(retry: type[SerializableRetry]) -> bool:
    async with database() as sessions:

        async def work(session: AsyncSession) -> str:
            await session.execute(update(ON_CALL).values(on_call=0))
            with suppress(DBAPIError):  # "it is there already": but the whole transaction is gone
                await session.execute(insert(ON_CALL).values(id=1, on_call=1))
            return "all at home"

        try:
            await retry(sessions)(work)
        except DBAPIError as error:
            return "transaction is aborted" in str(error)
        assert await on_call(sessions) == 2, "the work was reported as committed and was not"
        return False


def test_a_swallowed_error_is_never_reported_as_committed() -> None:
    assert asyncio.run(swallowed_errors_are_heard(SerializableRetry))
    assert not asyncio.run(swallowed_errors_are_heard(OnlyRepeatable))


def test_serialization_failures_and_deadlocks_are_run_again_and_nothing_else() -> None:
    async def runs_until_it_ends(sqlstate: str) -> tuple[int, type[BaseException] | None]:
        async with database() as sessions:
            runs = []

            async def work(session: AsyncSession) -> None:
                runs.append(await session.scalar(text("SHOW transaction_isolation")))
                if len(runs) == 1:
                    await fail(session, sqlstate)

            try:
                await SerializableRetry(sessions, sleep=no_wait)(work)
            except DBAPIError as error:
                return len(runs), type(error)
            assert runs == ["serializable"] * 2
            async with sessions() as session:  # the level went back to the pool with no connection
                assert await session.scalar(text("SHOW transaction_isolation")) == "read committed"
            return len(runs), None

    assert asyncio.run(runs_until_it_ends("40001")) == (2, None)
    assert asyncio.run(runs_until_it_ends("40P01")) == (2, None)
    assert asyncio.run(runs_until_it_ends("23505")) == (1, IntegrityError)


@in_a_loop
async def test_the_drivers_own_error_is_run_again_too() -> None:
    class SerializationError(Exception):
        sqlstate = "40001"

    async with database() as sessions:
        runs = []

        async def work(session: AsyncSession) -> None:
            runs.append(session)
            if len(runs) == 1:
                raise SerializationError
            if len(runs) == 2:
                raise KeyError("a bug of the work")

        with pytest.raises(KeyError, match="bug of the work"):
            await SerializableRetry(sessions, sleep=no_wait)(work)
        assert len(runs) == 2


@in_a_loop
async def test_tries_and_waits_are_bounded_and_no_connection_is_held_while_waiting() -> None:
    async with database() as sessions:
        pool = sessions.kw["bind"].pool
        waits_s: list[float] = []

        async def sleep(seconds: float) -> None:
            assert pool.checkedout() == 0
            waits_s.append(seconds)

        retry = SerializableRetry(sessions, max_tries=5, first_wait_s=0.1, longest_wait_s=0.15, sleep=sleep)
        with pytest.raises(RetriesExhausted, match="5 tries") as caught:
            await retry(lambda session: fail(session, "40001"))
        assert isinstance(caught.value.__cause__, DBAPIError)
        assert (retry.commits, retry.conflicts, retry.exhausted) == (0, 5, 1)
        assert len(waits_s) == 4
        for waited_s, bound_s in zip(waits_s, [0.1, 0.15, 0.15, 0.15], strict=True):
            assert 0 <= waited_s <= bound_s


@pytest.mark.parametrize("where", ["in the work", "while waiting"])
@in_a_loop
async def test_cancelled_means_rolled_back_and_no_connection_lost(where: str) -> None:
    async with database() as sessions:
        there, never = asyncio.Event(), asyncio.Event()

        async def stay(*_: object) -> None:
            there.set()
            await never.wait()

        async def work(session: AsyncSession) -> None:
            await session.execute(update(ON_CALL).values(on_call=0))
            await (stay() if where == "in the work" else fail(session, "40001"))

        task = asyncio.create_task(SerializableRetry(sessions, sleep=stay)(work))
        await asyncio.wait_for(there.wait(), 10)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()
        assert sessions.kw["bind"].pool.checkedout() == 0
        assert await on_call(sessions) == 2


@pytest.mark.parametrize("options", [{"max_tries": 0}, {"first_wait_s": -1.0}])
def test_values_without_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        SerializableRetry(async_sessionmaker(), **options)


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(SerializableRetry).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"max_tries": 6, "first_wait_s": 0.01, "longest_wait_s": 0.5}


class Conflict(Exception):
    sqlstate = "40001"


@in_a_loop
async def test_thousands_of_tries_overflow_nothing() -> None:
    async with database() as sessions:
        waits_s: list[float] = []
        runs = 0

        async def sleep(seconds: float) -> None:
            waits_s.append(seconds)

        async def work(session: AsyncSession) -> None:
            nonlocal runs
            runs += 1
            if runs < 1_200:
                raise Conflict

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("random.uniform", lambda low, high: high)
            await SerializableRetry(
                sessions, max_tries=1_200, first_wait_s=1, longest_wait_s=1e12, sleep=sleep
            )(work)
        assert waits_s[:4] == [1, 2, 4, 8]
        assert waits_s[-1] == max(waits_s) == 2**30


@pytest.mark.parametrize("options", [{"longest_wait_s": -0.1}, {"max_tries": -1}], ids=str)
def test_other_values_without_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        SerializableRetry(async_sessionmaker(), **options)


@in_a_loop
async def test_one_try_and_no_wait_are_taken_at_their_word() -> None:
    async with database() as sessions:
        retry = SerializableRetry(sessions, max_tries=1, first_wait_s=0, longest_wait_s=0, sleep=no_wait)
        with pytest.raises(RetriesExhausted, match="1 tries"):
            await retry(lambda session: fail(session, "40001"))
        assert (retry.commits, retry.conflicts, retry.exhausted) == (0, 1, 1)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[SerializableRetry.__module__]).failed == 0
