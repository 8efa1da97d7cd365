"""An event exists if its row does, and goes out at least once and in order, on a real PostgreSQL."""

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

from reference_app.patterns.outbox import _DONE, _LOCK, _TAKE, INDEX, TABLE, Event, Relay
from reference_app.patterns.outbox import add as add_events

Sessions = async_sessionmaker[AsyncSession]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def database() -> AsyncIterator[Sessions]:
    """Give sessions on a schema of this test's own, with the outbox and a table of orders."""
    if "DATABASE_URL" not in os.environ:
        pytest.fail("Set DATABASE_URL to a PostgreSQL database where tests may make schemas.", pytrace=False)
    url = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql+asyncpg:", os.environ["DATABASE_URL"])
    schema = f"test_{uuid.uuid4().hex}"
    settings = {"search_path": schema, "application_name": schema, "statement_timeout": "20s"}
    # pre_ping: the crashes below leave dead connections in the pool.
    options = {"pool_pre_ping": True, "connect_args": {"server_settings": settings}}
    engine = create_async_engine(url, pool_size=4, **options)
    async with engine.begin() as connection:
        await connection.execute(CreateSchema(schema))
        for statement in (TABLE, INDEX, "CREATE TABLE orders (n int PRIMARY KEY)"):
            await connection.execute(text(statement))
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


async def rows(sessions: Sessions, query: str) -> list[Any]:
    async with sessions() as session:
        return list((await session.scalars(text(query))).all())


async def add(sessions: Sessions, *events: Event) -> None:
    async with sessions.begin() as session:
        await add_events(session, *events)


class Receiver:
    """Remembers what was published to it; fails or waits on request."""

    def __init__(self) -> None:
        self.got: list[Event] = []
        self.fails_on: set[str] = set()
        self.holds: dict[str, asyncio.Event] = {}
        self.reached = asyncio.Event()

    async def __call__(self, event: Event) -> None:
        self.reached.set()
        if event.payload in self.holds:
            await self.holds[event.payload].wait()
        if event.payload in self.fails_on:
            raise ConnectionError("the broker is away")
        self.got.append(event)

    @property
    def payloads(self) -> list[str]:
        return [event.payload for event in self.got]


async def drain(relay: Relay) -> None:
    async with asyncio.timeout(10):
        while await relay.run_once():
            pass


@in_a_loop
async def test_an_event_exists_if_and_only_if_its_transaction_committed() -> None:
    async with database() as sessions:
        receiver = Receiver()
        async with sessions() as session:
            await add_events(session, Event("AAPL", "placed", "never"))
            await session.rollback()
        first, second = Event("AAPL", "placed", "1"), Event("AAPL", "filled", "2")
        await add(sessions, first, second)
        relay = Relay(sessions, receiver)
        assert [await relay.run_once() for _ in range(3)] == [1, 1, 0]
        assert receiver.got == [first, second]
        assert (relay.published, relay.failures) == (2, 0)


class Crash(Exception):
    """The process is gone."""


class Crasher:
    """Cuts a connection before its n-th statement or COMMIT, with no good-bye."""

    def __init__(self, sessions: Sessions) -> None:
        self.steps_left = -1
        engine = sessions.kw["bind"].sync_engine
        hook.listen(engine, "before_cursor_execute", self.step)
        hook.listen(engine, "commit", self.step)

    def step(self, connection: Any, *_: object) -> None:
        self.steps_left -= 1
        if self.steps_left == -1:
            connection.connection.driver_connection.terminate()
            raise Crash

    async def survives(self, steps: int, work: Any) -> bool:
        self.steps_left = steps
        try:
            await work
        except (Crash, InterfaceError):  # the second: SQLAlchemy could not roll back any more
            assert self.steps_left < 0
            return False
        finally:
            self.steps_left = -1
        return True


@in_a_loop
async def test_a_writer_that_crashes_at_any_step_leaves_row_and_event_or_neither() -> None:
    async with database() as sessions:
        crasher = Crasher(sessions)

        async def place(number: int) -> None:
            async with sessions.begin() as session:
                await session.execute(text("INSERT INTO orders VALUES (:n)"), {"n": number})
                await add_events(session, Event("AAPL", "placed", str(number)))

        for step in range(20):
            if await crasher.survives(step, place(step)):
                break
        assert step == 3, "row, event with its lock, commit"
        assert await rows(sessions, "SELECT n FROM orders") == [3]
        assert await rows(sessions, "SELECT payload FROM outbox") == ["3"]


async def nothing_is_lost_and_order_holds(kind: type[Relay]) -> bool:
    """The relay crashes before each of its statements in turn, and another one goes on."""
    async with database() as sessions:
        crasher, went_twice = Crasher(sessions), 0
        for step in range(20):
            receiver = Receiver()
            events = [Event("AAPL", "placed", f"{step}.{number}") for number in range(2)]
            await add(sessions, *events)
            survived = await crasher.survives(step, kind(sessions, receiver).run_once())
            async with asyncio.timeout(10):  # the server needs a moment to see that the connection is gone
                while await rows(sessions, "SELECT 1 FROM outbox"):
                    await kind(sessions, receiver).run_once()
            if set(receiver.payloads) != {event.payload for event in events}:
                return False
            assert receiver.payloads == sorted(receiver.payloads)
            assert {event.event_id for event in receiver.got} == {event.event_id for event in events}
            went_twice += len(receiver.got) - 2
            if survived:
                assert (step, went_twice) == (3, 2), "take, delete, commit: published before the last two"
                return True
        return False


def test_a_relay_that_crashes_at_any_step_loses_nothing_and_keeps_the_order() -> None:
    assert asyncio.run(nothing_is_lost_and_order_holds(Relay))


class DeletesFirst(Relay):
    """A wrong twin: exactly once, as it seems, until the process dies between its COMMIT and the broker."""

    async def run_once(self) -> int:
        async with self._sessions.begin() as session:
            taken = (await session.execute(_TAKE, {"limit": self._batch_size})).all()
            for row in taken:
                await session.execute(_DONE, {"id": row.id})
        async with self._sessions.begin() as session:
            await session.execute(text("SELECT 1"))  # anything at which the process may die
            return sum([await self._try(row) for row in taken])


def test_deleting_before_publishing_is_rejected() -> None:
    assert not asyncio.run(nothing_is_lost_and_order_holds(DeletesFirst))


async def relays_do_not_overtake_each_other(kind: type[Relay]) -> bool:
    async with database() as sessions:
        receiver = Receiver()
        receiver.holds["AAPL 1"] = asyncio.Event()
        await add(sessions, *(Event(it.split()[0], "placed", it) for it in ("AAPL 1", "AAPL 2", "MSFT 1")))
        slow = asyncio.create_task(kind(sessions, receiver, batch_size=1).run_once())
        await asyncio.wait_for(receiver.reached.wait(), 10)
        await drain(kind(sessions, receiver, batch_size=1))
        assert "MSFT 1" in receiver.payloads, "another key waits for nobody"
        receiver.holds["AAPL 1"].set()
        assert await slow == 1
        await drain(kind(sessions, receiver))
        return receiver.payloads.index("AAPL 1") < receiver.payloads.index("AAPL 2")


def test_relays_do_not_overtake_each_other_within_a_key() -> None:
    assert asyncio.run(relays_do_not_overtake_each_other(Relay))


class TakesAny(Relay):
    """A wrong twin: SKIP LOCKED as in a job queue, which is all that most outboxes do."""

    async def run_once(self) -> int:
        query = text("SELECT * FROM outbox ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED")
        async with self._sessions.begin() as session:
            taken = (await session.execute(query, {"limit": self._batch_size})).all()
            for row in taken:
                await self._try(row)
                await session.execute(_DONE, {"id": row.id})
        return len(taken)


def test_skip_locked_alone_is_rejected() -> None:
    assert not asyncio.run(relays_do_not_overtake_each_other(TakesAny))


async def a_later_commit_comes_later(add_to: Any) -> bool:
    """The second writer of a key comes while the first has its id, and has not committed."""
    async with database() as sessions:
        receiver = Receiver()

        async def second_writer() -> None:
            async with sessions.begin() as session:
                await add_to(session, Event("AAPL", "placed", "second"))

        async with sessions.begin() as session:
            await add_to(session, Event("AAPL", "placed", "first"))
            second = asyncio.create_task(second_writer())
            waits = asyncio.create_task(until_one_waits(sessions))
            await asyncio.wait([second, waits], return_when=asyncio.FIRST_COMPLETED, timeout=10)
            await drain(Relay(sessions, receiver))
        waits.cancel()
        await asyncio.wait([second, waits], timeout=10)
        await drain(Relay(sessions, receiver))
        return receiver.payloads == ["first", "second"]


def test_the_order_within_a_key_is_that_of_the_commits() -> None:
    assert asyncio.run(a_later_commit_comes_later(add_events))


def test_adding_without_the_lock_is_rejected() -> None:
    async def add_unlocked(session: AsyncSession, event: Event) -> None:
        insert = (
            "INSERT INTO outbox (event_id, key, topic, payload) VALUES (:event_id, :key, :topic, :payload)"
        )
        await session.execute(text(insert), vars(event))

    assert not asyncio.run(a_later_commit_comes_later(add_unlocked))


def test_keys_are_locked_in_one_order_whatever_the_order_of_the_events() -> None:
    class Session:
        def __init__(self) -> None:
            self.locked: list[int] = []
            self.added: list[str] = []

        async def execute(self, statement: object, values: dict[str, Any]) -> None:
            if statement is _LOCK:
                self.locked.append(values["lock_id"])
            else:
                self.added.append(values["payload"])

    one_way, other_way = Session(), Session()
    a1, b, a2 = Event("a", "", "a1"), Event("b", "", "b"), Event("a", "", "a2")
    asyncio.run(add_events(one_way, a1, b, a2))  # type: ignore[arg-type]
    asyncio.run(add_events(other_way, b, a2, a1))  # type: ignore[arg-type]
    assert one_way.locked == other_way.locked
    assert len(one_way.locked) == 2
    assert (one_way.added, other_way.added) == (["a1", "b", "a2"], ["b", "a2", "a1"])


@in_a_loop
async def test_an_event_that_fails_or_hangs_keeps_its_key_behind_it_and_no_other() -> None:
    async with database() as sessions:
        receiver = Receiver()
        receiver.fails_on = {"AAPL 1"}
        receiver.holds["IBM 1"] = asyncio.Event()
        names = ("AAPL 1", "AAPL 2", "MSFT 1", "IBM 1")
        await add(sessions, *(Event(name.split()[0], "placed", name) for name in names))
        async with sessions.begin() as session:  # the ninth wait is 256 s: longer than any test
            await session.execute(text("UPDATE outbox SET tries = 8"))
        relay = Relay(sessions, receiver, publish_timeout_s=0.05)
        assert [await relay.run_once(), await relay.run_once()] == [1, 0]
        assert (receiver.payloads, relay.published, relay.failures) == (["MSFT 1"], 1, 2)
        assert await relay.lag_s() > 0
        waits_s = "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM outbox WHERE tries = 9"
        assert [200 < wait_s <= 256 for wait_s in await rows(sessions, waits_s)] == [True, True]
        async with sessions.begin() as session:
            await session.execute(text("UPDATE outbox SET not_before = now()"))
        receiver.fails_on.clear()
        receiver.holds["IBM 1"].set()
        await drain(relay)
        assert sorted(receiver.payloads) == sorted(names)
        assert receiver.payloads.index("AAPL 1") < receiver.payloads.index("AAPL 2")
        assert await relay.lag_s() == 0


@in_a_loop
async def test_the_wait_grows_to_five_minutes_and_no_further() -> None:
    async with database() as sessions:
        receiver = Receiver()
        receiver.fails_on = {"1"}
        await add(sessions, Event("AAPL", "placed", "1"))
        async with sessions.begin() as session:
            await session.execute(text("UPDATE outbox SET tries = 2000000"))
        await Relay(sessions, receiver).run_once()
        wait_s = "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM outbox"
        assert 256 < (await rows(sessions, wait_s))[0] <= 300


@in_a_loop
async def test_a_round_is_bounded() -> None:
    async with database() as sessions:
        await add(sessions, *(Event(f"key {number}", "placed", "") for number in range(5)))
        relay = Relay(sessions, Receiver(), batch_size=2)
        assert [await relay.run_once() for _ in range(4)] == [2, 2, 1, 0]


@in_a_loop
async def test_the_relay_survives_its_database_and_gives_back_what_it_was_cancelled_with() -> None:
    async with database() as sessions:
        receiver = Receiver()
        receiver.holds["1"] = asyncio.Event()
        await add(sessions, Event("AAPL", "placed", "1"))
        crasher = Crasher(sessions)
        crasher.steps_left = 0
        relay = Relay(sessions, receiver)
        task = asyncio.create_task(relay.run(poll_interval_s=0))
        await asyncio.wait_for(receiver.reached.wait(), 10)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()
        assert (relay.published, relay.failures) == (0, 0), "a deployment is no failure"
        assert sessions.kw["bind"].pool.checkedout() == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        receiver.holds.clear()
        await drain(Relay(sessions, receiver))
        assert receiver.payloads == ["1"]


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(Relay).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"batch_size": 20, "publish_timeout_s": 10.0}


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"publish_timeout_s": 0}, {"publish_timeout_s": -1.0}], ids=str
)
def test_numbers_with_which_nothing_would_be_published_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Relay(async_sessionmaker(), Receiver(), **options)


@in_a_loop
async def test_a_broker_that_cancels_itself_has_failed_and_is_tried_again() -> None:
    async with database() as sessions:
        calls: list[str] = []

        async def publish(event: Event) -> None:
            calls.append(event.payload)
            if len(calls) == 1:
                raise asyncio.CancelledError

        await add(sessions, Event("AAPL", "placed", "1"))
        relay = Relay(sessions, publish)
        assert await asyncio.wait_for(relay.run_once(), 10) == 0
        assert (relay.published, relay.failures) == (0, 1)
        async with sessions.begin() as session:
            await session.execute(text("UPDATE outbox SET not_before = now()"))
        assert await relay.run_once() == 1


@in_a_loop
async def test_keys_that_look_alike_are_different_keys() -> None:
    async with database() as sessions:
        receiver = Receiver()
        names = ["a", "a ", "A", "a:b", "", "ü\u2028\n"]
        await add(sessions, *(Event(name, "placed", name) for name in names))
        assert await Relay(sessions, receiver).run_once() == len(names)
        assert sorted(receiver.payloads) == sorted(names)


@in_a_loop
async def test_an_idle_relay_asks_once_an_interval_and_logs_a_database_that_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with database() as sessions:
        for error in (None, ConnectionError("the database restarts")):
            relay, calls = Relay(sessions, Receiver()), list[Any]()

            async def round_(calls: list[Any] = calls, error: Exception | None = error) -> int:
                calls.append(error)
                if error is not None:
                    raise error
                return 0

            relay.run_once = round_  # type: ignore[method-assign]
            task = asyncio.create_task(relay.run(poll_interval_s=3600))
            for _ in range(5):
                await relay.lag_s()
            task.cancel()
            await asyncio.wait([task], timeout=10)
            assert calls == [error]
    assert "a round of the outbox relay failed" in caplog.text
    assert "the database restarts" in caplog.text
    assert inspect.signature(Relay.run).parameters["poll_interval_s"].default == 0.5


@in_a_loop
async def test_a_failure_is_logged_with_its_event(caplog: pytest.LogCaptureFixture) -> None:
    async with database() as sessions:
        receiver, event = Receiver(), Event("AAPL", "placed", "1")
        receiver.fails_on = {"1"}
        await add(sessions, event)
        await Relay(sessions, receiver).run_once()
    assert f"event {event.event_id} failed" in caplog.text
    assert "the broker is away" in caplog.text


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[Relay.__module__]).failed == 0
