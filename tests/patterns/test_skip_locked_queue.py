"""Workers take different jobs, and a job takes effect once or not at all, on a real PostgreSQL."""

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
from sqlalchemy import event as hook
from sqlalchemy import text
from sqlalchemy.exc import InterfaceError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.schema import CreateSchema, DropSchema

from reference_app.patterns.skip_locked_queue import INDEX, TABLE, Job, JobQueue, put

Sessions = async_sessionmaker[AsyncSession]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def database(*payloads: str) -> AsyncIterator[Sessions]:
    """Give sessions on a schema of this test's own, with these jobs and a table of what was done."""
    if "DATABASE_URL" not in os.environ:
        pytest.fail("Set DATABASE_URL to a PostgreSQL database where tests may make schemas.", pytrace=False)
    url = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql+asyncpg:", os.environ["DATABASE_URL"])
    schema = f"test_{uuid.uuid4().hex}"
    settings = {"search_path": schema, "lock_timeout": "20s", "statement_timeout": "20s"}
    # pre_ping: the crashes below leave dead connections in the pool.
    options = {"pool_pre_ping": True, "connect_args": {"server_settings": settings}}
    engine = create_async_engine(url, pool_size=4, **options)
    async with engine.begin() as connection:
        await connection.execute(CreateSchema(schema))
        effects = "CREATE TABLE effects (payload text)"
        for statement in (TABLE, INDEX, effects):
            await connection.execute(text(statement))
    sessions = async_sessionmaker(engine)
    async with sessions.begin() as session:
        for payload in payloads:
            await put(session, payload)
    try:
        yield sessions
    finally:
        async with engine.begin() as connection:
            await connection.execute(DropSchema(schema, cascade=True))
        await engine.dispose()


async def rows(sessions: Sessions, query: str) -> list[Any]:
    async with sessions() as session:
        return list((await session.scalars(text(query))).all())


async def change(sessions: Sessions, statement: str) -> None:
    async with sessions.begin() as session:
        await session.execute(text(statement))


async def take_effect(session: AsyncSession, job: Job) -> None:
    await session.execute(text("INSERT INTO effects VALUES (:payload)"), {"payload": job.payload})


EFFECTS = "SELECT payload FROM effects ORDER BY payload"
TRIES = "SELECT tries FROM queue"
DUE = "UPDATE queue SET not_before = now() - interval '1 s'"


class Slow:
    """A handler that says when it has begun, and takes effect when it may."""

    def __init__(self) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, session: AsyncSession, job: Job) -> None:
        self.began.set()
        await self.go_on.wait()
        await take_effect(session, job)


@in_a_loop
async def test_a_job_exists_if_and_only_if_its_transaction_committed() -> None:
    async with database() as sessions:
        async with sessions() as session:
            await put(session, "never")
            await session.rollback()
        async with sessions.begin() as session:
            await put(session, "now")
            await put(session, "in an hour", delay_s=3600)
        queue = JobQueue(sessions)
        assert await queue.counts() == {"waiting": 1, "dead": 0}
        assert [await queue.work_once(take_effect) for _ in range(2)] == [True, False]
        assert await rows(sessions, EFFECTS) == ["now"]
        assert await rows(sessions, "SELECT payload FROM queue") == ["in an hour"]
        assert (queue.done, queue.failed, queue.lost) == (1, 0, 0)


async def workers_take_different_jobs(kind: type[JobQueue]) -> bool:
    async with database("a", "b") as sessions:
        queue, handlers = kind(sessions), [Slow(), Slow()]
        first = asyncio.create_task(queue.work_once(handlers[0]))
        await asyncio.wait_for(handlers[0].began.wait(), 10)
        second = asyncio.create_task(queue.work_once(handlers[1]))
        await asyncio.wait_for(handlers[1].began.wait(), 10)
        third = await queue.work_once(take_effect)
        for handler in handlers:
            handler.go_on.set()
        await asyncio.wait([first, second], timeout=10)
        return not third and queue.done == 2 and await rows(sessions, EFFECTS) == ["a", "b"]


def test_workers_take_different_jobs_and_do_not_wait_for_each_other() -> None:
    assert asyncio.run(workers_take_different_jobs(JobQueue))


class MarksNothing(JobQueue):
    """A wrong twin: SKIP LOCKED as it should be, but the lock ends with the transaction that took it."""

    async def work_once(self, handler: Any) -> bool:
        query = text("SELECT id, payload, tries, token FROM queue ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED")
        async with self._sessions.begin() as session:
            taken = (await session.execute(query)).all()
        for row in taken:
            async with self._sessions.begin() as session:
                await handler(session, Job(*row))
                await session.execute(text("DELETE FROM queue WHERE id = :id"), {"id": row.id})
            self.done += 1
        return bool(taken)


def test_a_lock_that_ends_before_the_work_is_rejected() -> None:
    assert not asyncio.run(workers_take_different_jobs(MarksNothing))


async def a_lost_lease_has_no_effect(kind: type[JobQueue]) -> bool:
    """A worker is so slow that its lease ends, and another one does the job meanwhile."""
    async with database("a") as sessions:
        queue, slow = kind(sessions), Slow()
        first = asyncio.create_task(queue.work_once(slow))
        await asyncio.wait_for(slow.began.wait(), 10)
        await change(sessions, DUE)
        other = Slow()
        second = asyncio.create_task(queue.work_once(other))
        await asyncio.wait_for(other.began.wait(), 10)
        slow.go_on.set()
        await asyncio.wait([first], timeout=10)
        other.go_on.set()
        await asyncio.wait([second], timeout=10)
        assert first.result()
        assert second.result()
        return await rows(sessions, EFFECTS) == ["a"] and (queue.done, queue.lost) == (1, 1)


def test_a_worker_whose_lease_is_lost_takes_no_effect_and_ends_nothing() -> None:
    assert asyncio.run(a_lost_lease_has_no_effect(JobQueue))


class EndsById(JobQueue):
    """A wrong twin: it ends the job by its id, whoever has it now."""

    async def work_once(self, handler: Any) -> bool:
        async with self._sessions.begin() as session:
            taken = (await session.execute(self._take, self._taking)).all()
        for row in taken:
            async with self._sessions.begin() as session:
                await handler(session, Job(*row))
                await session.execute(text("DELETE FROM queue WHERE id = :id"), {"id": row.id})
            self.done += 1
        return bool(taken)


def test_ending_a_job_without_its_token_is_rejected() -> None:
    assert not asyncio.run(a_lost_lease_has_no_effect(EndsById))


class Crash(Exception):
    """The process is gone."""


@in_a_loop
async def test_a_worker_that_crashes_at_any_step_loses_no_job_and_doubles_no_effect() -> None:
    async with database() as sessions:
        engine = sessions.kw["bind"].sync_engine
        steps_left = -1

        def step(connection: Any, *_: object) -> None:
            nonlocal steps_left
            steps_left -= 1
            if steps_left <= -1 and steps_left > -50:  # the dead do not clean up either
                connection.connection.driver_connection.terminate()
                raise Crash

        hook.listen(engine, "before_cursor_execute", step)
        hook.listen(engine, "commit", step)
        for crash_at in range(20):
            steps_left = -100
            async with sessions.begin() as session:
                await put(session, f"{crash_at:02}")
            steps_left = crash_at
            try:
                survived = await JobQueue(sessions).work_once(take_effect)
            except (Crash, InterfaceError):  # the second: SQLAlchemy could not roll back any more
                survived = False
            steps_left = -100
            async with asyncio.timeout(10):  # the server needs a moment to see that the connection is gone
                while await rows(sessions, "SELECT 1 FROM queue"):
                    await change(sessions, DUE)  # the lease of the dead is over
                    await JobQueue(sessions).work_once(take_effect)
            assert await rows(sessions, EFFECTS) == [f"{number:02}" for number in range(crash_at + 1)]
            if survived:
                break
        assert crash_at == 5, "take, commit, effect, end, commit"


@in_a_loop
async def test_a_job_that_fails_or_hangs_is_tried_later_and_is_dead_in_the_end() -> None:
    async with database("a") as sessions:
        queue = JobQueue(sessions, handler_timeout_s=0.05, max_tries=11)
        await change(sessions, "UPDATE queue SET tries = 8")  # waits are longer than any test by now

        async def fail(session: AsyncSession, job: Job) -> None:
            await take_effect(session, job)
            raise ConnectionError("the exchange is away")

        assert await queue.work_once(fail)
        wait_s = "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM queue"
        assert 200 < (await rows(sessions, wait_s))[0] <= 256
        assert not await queue.work_once(fail), "not yet"
        await change(sessions, DUE)
        assert await queue.work_once(Slow())  # never goes on
        assert 256 < (await rows(sessions, wait_s))[0] <= 300
        await change(sessions, DUE)
        assert await queue.work_once(fail)
        await change(sessions, DUE)
        assert not await queue.work_once(take_effect), "dead"
        assert await queue.counts() == {"waiting": 0, "dead": 1}
        assert (queue.done, queue.failed) == (0, 3)
        assert await rows(sessions, EFFECTS) == []
        await change(sessions, "UPDATE queue SET tries = 0")
        assert await queue.work_once(take_effect)


@pytest.mark.parametrize("where", ["in the handler", "between jobs"])
@in_a_loop
async def test_a_worker_that_is_cancelled_gives_its_job_back_uncounted(where: str) -> None:
    async with database("a") as sessions:
        queue, slow = JobQueue(sessions), Slow()
        handler = slow if where == "in the handler" else take_effect
        task = asyncio.create_task(queue.work(handler, poll_interval_s=3600))
        async with asyncio.timeout(10):
            if handler is slow:
                await slow.began.wait()
            while handler is take_effect and await rows(sessions, TRIES):
                pass
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()
        assert sessions.kw["bind"].pool.checkedout() == 0
        assert await rows(sessions, TRIES) == ([0] if where == "in the handler" else [])
        assert await queue.work_once(take_effect) is (where == "in the handler")
        assert await rows(sessions, EFFECTS) == ["a"]


@in_a_loop
async def test_the_worker_survives_its_database() -> None:
    async with database("a") as sessions:
        queue = JobQueue(sessions)
        real, calls = queue.work_once, []

        async def flaky(handler: Any) -> bool:
            calls.append(handler)
            if len(calls) == 1:
                raise ConnectionError("the database restarts")
            return await real(handler)

        queue.work_once = flaky  # type: ignore[method-assign]
        task = asyncio.create_task(queue.work(take_effect, poll_interval_s=0))
        async with asyncio.timeout(10):
            while await rows(sessions, TRIES):
                pass
        task.cancel()
        await asyncio.wait([task], timeout=10)


@pytest.mark.parametrize("table", ["jobs", "user", "desk.jobs_2"])
@in_a_loop
async def test_the_table_may_have_another_name_a_reserved_word_too(table: str) -> None:
    async with database() as sessions:
        schema = (await rows(sessions, "SELECT current_schema"))[0]
        table = table.replace("desk.", f"{schema}.")
        name = ".".join(f'"{part}"' for part in table.split("."))
        await change(sessions, TABLE.replace("CREATE TABLE queue", f"CREATE TABLE {name}"))
        async with sessions.begin() as session:
            await put(session, "a", table=table)
        queue = JobQueue(sessions, table=table)
        assert await queue.counts() == {"waiting": 1, "dead": 0}

        async def fail(session: AsyncSession, job: Job) -> None:
            raise ConnectionError("the exchange is away")

        assert await queue.work_once(fail)
        await change(sessions, f"UPDATE {name} SET not_before = now()")
        assert await queue.work_once(take_effect)
        assert await rows(sessions, EFFECTS) == ["a"]
        assert await queue.counts() == {"waiting": 0, "dead": 0}


@pytest.mark.parametrize("table", ["", "jobs; DROP TABLE queue", 'a"b', "a.b.c", ".jobs", "jobs\n", "Jobs"])
@in_a_loop
async def test_what_is_no_name_of_a_table_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match="table must be a name"):
        JobQueue(async_sessionmaker(), table=table)
    with pytest.raises(ValueError, match="table must be a name"):
        await put(AsyncSession(), "a", table=table)


@pytest.mark.parametrize("options", [{"lease_s": 10.0}, {"handler_timeout_s": 0.0}])
def test_values_without_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="below lease_s"):
        JobQueue(async_sessionmaker(), **options)


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(JobQueue).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"handler_timeout_s": 50.0, "lease_s": 60.0, "max_tries": 5}


@pytest.mark.parametrize(
    "options",
    [
        {"max_tries": 0},
        {"lease_s": float("inf")},
        {"lease_s": float("nan")},
        {"lease_s": 366 * 86_400 + 1},
        {"handler_timeout_s": float("nan")},
        {"handler_timeout_s": 60.0},
    ],
    ids=str,
)
def test_other_values_without_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        JobQueue(async_sessionmaker(), **options)


@in_a_loop
async def test_the_longest_lease_and_a_single_try_are_kept() -> None:
    async with database("a") as sessions:
        queue = JobQueue(sessions, lease_s=366 * 86_400, max_tries=1)

        async def look(session: AsyncSession, job: Job) -> None:
            assert job.tries == 1
            [left_s] = await rows(
                sessions, "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM queue"
            )
            assert 366 * 86_400 - 60 < left_s <= 366 * 86_400
            raise LookupError

        assert await queue.work_once(look)
        await change(sessions, DUE)
        assert not await queue.work_once(take_effect)
        assert await queue.counts() == {"waiting": 0, "dead": 1}


@in_a_loop
async def test_a_driver_that_cancels_itself_has_failed_and_the_worker_goes_on() -> None:
    async with database("a", "b") as sessions:
        queue = JobQueue(sessions)

        async def torn_down(session: AsyncSession, job: Job) -> None:
            if job.payload == "a":
                raise asyncio.CancelledError
            await take_effect(session, job)

        worker = asyncio.create_task(queue.work(torn_down, poll_interval_s=3600))
        async with asyncio.timeout(10):
            while await rows(sessions, EFFECTS) != ["b"]:
                pass
        worker.cancel()
        await asyncio.wait([worker], timeout=10)
        assert (queue.failed, queue.done) == (1, 1)
        assert await rows(sessions, TRIES) == [1], "it counts as a try"


@in_a_loop
async def test_a_job_that_is_put_later_is_not_taken_before() -> None:
    async with database() as sessions:
        async with sessions.begin() as session:
            await put(session, "later", delay_s=1000)
            await put(session, "now")
        [left_s] = await rows(
            sessions, "SELECT extract(epoch FROM not_before - now()) FROM queue WHERE payload = 'later'"
        )
        assert 900 < left_s <= 1000
        queue = JobQueue(sessions)
        assert [await queue.work_once(take_effect) for _ in range(2)] == [True, False]


@in_a_loop
async def test_a_job_that_is_being_taken_is_stepped_around() -> None:
    async with database("a", "b") as sessions:
        queue = JobQueue(sessions)
        async with sessions.begin() as other:
            taken = (await other.execute(queue._take, queue._taking)).all()
            assert await asyncio.wait_for(queue.work_once(take_effect), 10)
            assert len(taken) == 1
        assert await rows(sessions, EFFECTS) == [{"a": "b", "b": "a"}[taken[0].payload]]


@in_a_loop
async def test_a_failure_is_logged_and_a_handler_cannot_talk_a_worker_out_of_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with database("a") as sessions:
        queue, slow = JobQueue(sessions), Slow()

        async def fail(session: AsyncSession, job: Job) -> None:
            raise LookupError("no such symbol")

        assert await queue.work_once(fail)
        # Not those of asyncio: what other tests have left is logged when it is collected.
        assert [it.getMessage() for it in caplog.records if it.name != "asyncio"] == ["job 1 failed, run 1"]
        assert "no such symbol" in caplog.text

        async def stubborn(session: AsyncSession, job: Job) -> None:
            try:
                await slow(session, job)
            except asyncio.CancelledError:
                raise LookupError("something else") from None

        await change(sessions, DUE)
        worker = asyncio.create_task(queue.work(stubborn, poll_interval_s=3600))
        await asyncio.wait_for(slow.began.wait(), 10)
        worker.cancel()
        await asyncio.wait([worker], timeout=10)
        assert worker.cancelled()
        assert (queue.failed, await rows(sessions, TRIES)) == (1, [1])


@in_a_loop
async def test_the_waits_after_failures_double() -> None:
    async with database("a") as sessions:
        queue = JobQueue(sessions, max_tries=10)

        async def fail(session: AsyncSession, job: Job) -> None:
            raise LookupError

        wait_s = "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM queue"
        for tries, longest_s in ((0, 1), (5, 32), (6, 64), (7, 128), (8, 256)):
            await change(sessions, f"UPDATE queue SET tries = {tries}, not_before = now()")
            assert await queue.work_once(fail)
            left_s = float((await rows(sessions, wait_s))[0])
            assert longest_s - 15 < left_s <= longest_s


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[JobQueue.__module__]).failed == 0
