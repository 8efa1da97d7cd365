"""One transaction at a time has the name, until it has committed, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import doctest
import functools
import inspect
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.schema import CreateSchema, DropSchema

from reference_app.patterns.advisory_lock import AdvisoryLocks, LockTimeout

Sessions = async_sessionmaker[AsyncSession]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def database() -> AsyncIterator[Sessions]:
    """Give sessions on a schema of this test's own, in which ann has two watchlists."""
    if "DATABASE_URL" not in os.environ:
        pytest.fail("Set DATABASE_URL to a PostgreSQL database where tests may make schemas.", pytrace=False)
    url = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql+asyncpg:", os.environ["DATABASE_URL"])
    schema = f"test_{uuid.uuid4().hex}"
    settings = {"search_path": schema, "application_name": schema, "lock_timeout": "7s"}
    engine = create_async_engine(url, pool_size=4, connect_args={"server_settings": settings})
    async with engine.begin() as connection:
        await connection.execute(CreateSchema(schema))
        await connection.execute(text("CREATE TABLE watchlists (owner text)"))
        await connection.execute(text("INSERT INTO watchlists VALUES ('ann'), ('ann')"))
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


async def count(session: AsyncSession) -> int:
    return int(await session.scalar(text("SELECT count(*) FROM watchlists WHERE owner = 'ann'")))


def names() -> tuple[AdvisoryLocks, str]:
    """Return locks and a name that nothing else on this server uses: advisory locks know no schemas."""
    return AdvisoryLocks(f"watchlists {uuid.uuid4()}", wait_s=30), "ann"


async def three_are_the_limit(locks: AdvisoryLocks) -> bool:
    """Two transactions want a third watchlist; the second comes before the first has committed."""
    async with database() as sessions:

        async def add_one(session: AsyncSession) -> bool:
            await locks.take(session, "ann")
            if await count(session) >= 3:
                return False
            await session.execute(text("INSERT INTO watchlists VALUES ('ann')"))
            return True

        async def second_transaction() -> bool:
            async with sessions.begin() as session:
                return await add_one(session)

        async with sessions.begin() as session:
            assert await add_one(session)
            second = asyncio.create_task(second_transaction())
            waits = asyncio.create_task(until_one_waits(sessions))
            await asyncio.wait([second, waits], return_when=asyncio.FIRST_COMPLETED, timeout=10)
        waits.cancel()
        await asyncio.wait([second, waits], timeout=10)
        async with sessions() as session:
            return not second.result() and await count(session) == 3


def test_a_rule_about_rows_that_do_not_exist_yet_is_kept() -> None:
    assert asyncio.run(three_are_the_limit(names()[0]))


class InItsOwnTransaction(AdvisoryLocks):
    """A wrong twin: a helper that opens a session of its own, so that the lock is gone when it returns."""

    async def take(self, session: AsyncSession, *names: str) -> None:
        async with AsyncSession(session.bind) as own, own.begin():
            await super().take(own, *names)


class SetsNothing(AdvisoryLocks):
    """A wrong twin: it goes on where the name is taken by somebody else."""

    async def take(self, session: AsyncSession, *names: str) -> None:
        for name in names:
            await self.try_take(session, name)


@pytest.mark.parametrize("twin", [InItsOwnTransaction, SetsNothing])
def test_a_lock_that_is_gone_or_was_never_there_is_rejected(twin: type[AdvisoryLocks]) -> None:
    assert not asyncio.run(three_are_the_limit(twin(f"watchlists {uuid.uuid4()}", wait_s=30)))


def test_two_processes_lock_the_same_number_for_a_name_and_pythons_own_hash_is_rejected() -> None:
    module = AdvisoryLocks.__module__
    program = f"import {module} as it; print(it.AdvisoryLocks('watchlists').lock_id('ann'), hash('ann'))"
    numbers, hashes = set(), set()
    for seed in ("1", "2"):
        path = os.pathsep.join(filter(None, sys.path))
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
        )
        assert run.returncode == 0, run.stderr
        numbers.add(run.stdout.split()[0])
        hashes.add(run.stdout.split()[1])
    assert (len(numbers), len(hashes)) == (1, 2)


def test_numbers_fit_and_namespaces_keep_names_apart() -> None:
    assert AdvisoryLocks("a").lock_id("bc") != AdvisoryLocks("ab").lock_id("c")
    assert all(-(2**63) <= AdvisoryLocks("a").lock_id(str(it)) < 2**63 for it in range(100))


@in_a_loop
async def test_waiting_is_bounded_and_the_setting_is_given_back() -> None:
    async with database() as sessions:
        locks, name = names()
        locks._wait_ms = "30"
        async with sessions.begin() as holder:
            await locks.take(holder, name, "another")
            assert await holder.scalar(text("SELECT current_setting('lock_timeout')")) == "7s"
            async with sessions() as session:
                with pytest.raises(LockTimeout, match="for 30 ms"):
                    await locks.take(session, name)
            assert (locks.taken, locks.timed_out) == (2, 1)
        async with sessions.begin() as session:
            await locks.take(session, name)


@in_a_loop
async def test_trying_does_not_wait_and_the_lock_ends_with_commit_and_rollback() -> None:
    async with database() as sessions:
        locks, name = names()
        for end in (AsyncSession.commit, AsyncSession.rollback):
            async with sessions() as holder, sessions() as other:
                assert await locks.try_take(holder, name)
                assert not await locks.try_take(other, name)
                await end(holder)
                assert await locks.try_take(other, name)
        assert (locks.taken, locks.refused) == (4, 2)


def test_names_are_locked_in_one_order_and_once() -> None:
    class Session:
        def __init__(self) -> None:
            self.locked: list[int] = []

        async def scalar(self, statement: object, values: dict[str, Any]) -> str:
            return "7s"

        async def execute(self, statement: object, values: dict[str, Any]) -> None:
            self.locked += [values["lock_id"]] if "lock_id" in values else []

    one_way, other_way = Session(), Session()
    locks = AdvisoryLocks("watchlists")
    asyncio.run(locks.take(one_way, "a", "b", "c", "a"))  # type: ignore[arg-type]
    asyncio.run(locks.take(other_way, "c", "b", "a"))  # type: ignore[arg-type]
    assert one_way.locked == other_way.locked
    assert len(one_way.locked) == 3


@in_a_loop
async def test_who_is_cancelled_while_waiting_leaves_no_lock_behind() -> None:
    async with database() as sessions:
        locks, name = names()

        async def take() -> None:
            async with sessions.begin() as session:
                await locks.take(session, name)

        async with sessions.begin() as holder:
            await locks.take(holder, name)
            waiter = asyncio.create_task(take())
            await until_one_waits(sessions)
            waiter.cancel()
            await asyncio.wait([waiter], timeout=10)
            assert waiter.cancelled()
            assert sessions.kw["bind"].pool.checkedout() == 1
        await take()
        assert locks.taken == 2


def test_a_wait_that_postgresql_would_take_for_ever_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.001 to 2147483"):
        AdvisoryLocks("watchlists", wait_s=0.0001)


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(AdvisoryLocks).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"wait_s": 5.0}


class Recorder:
    """Stands for a session; notes what it was asked for, and fails as told."""

    def __init__(self, sqlstate: str | None = None) -> None:
        self.sqlstate = sqlstate
        self.timeouts: list[str] = []

    async def scalar(self, statement: object, values: dict[str, Any]) -> str:
        self.timeouts.append(values["value"])
        return "7s"

    async def execute(self, statement: object, values: dict[str, Any]) -> None:
        if self.sqlstate is not None:
            error = Exception()
            error.sqlstate = self.sqlstate  # type: ignore[attr-defined]
            raise DBAPIError("SELECT", {}, error)


@pytest.mark.parametrize(("wait_s", "ms"), [(0.001, "1"), (0.25, "250"), (2_147_483, "2147483000")])
def test_the_wait_is_told_to_postgresql_in_milliseconds_and_taken_back(wait_s: float, ms: str) -> None:
    session = Recorder()
    asyncio.run(AdvisoryLocks("watchlists", wait_s=wait_s).take(session, "a"))  # type: ignore[arg-type]
    assert session.timeouts == [ms, "7s"]


def test_only_a_lock_that_is_not_free_is_a_timeout() -> None:
    locks = AdvisoryLocks("watchlists")
    with pytest.raises(DBAPIError):
        asyncio.run(locks.take(Recorder("57014"), "a"))  # type: ignore[arg-type]
    assert locks.timed_out == 0
    with pytest.raises(LockTimeout, match="5000 ms"):
        asyncio.run(locks.take(Recorder("55P03"), "a"))  # type: ignore[arg-type]
    assert (locks.timed_out, locks.taken) == (1, 0)


@in_a_loop
async def test_postgresql_takes_the_longest_wait() -> None:
    async with database() as sessions, sessions.begin() as session:
        locks = AdvisoryLocks(f"watchlists {uuid.uuid4()}", wait_s=2_147_483)
        await locks.take(session, "a", "a:b")
        await locks.take(session)
        assert locks.taken == 2


@pytest.mark.parametrize("wait_s", [0, -1, 2_147_484, float("inf"), float("nan")])
def test_a_wait_that_postgresql_cannot_keep_is_refused(wait_s: float) -> None:
    with pytest.raises(ValueError, match="2147483"):
        AdvisoryLocks("watchlists", wait_s=wait_s)


def test_names_and_namespaces_that_meet_are_different_names() -> None:
    ids = [
        AdvisoryLocks(space).lock_id(name)
        for space, name in (("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"))
    ]
    assert len(set(ids)) == 4


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[AdvisoryLocks.__module__]).failed == 0
