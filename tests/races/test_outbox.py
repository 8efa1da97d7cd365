"""Writers and relays on one key, in every order of their statements on a real PostgreSQL."""

import asyncio
import uuid

import pytest
from deskbook.races import SQLAlchemyGate, explore
from deskbook.services import fresh_database
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from reference_app.patterns import outbox
from reference_app.patterns.outbox import Event, Relay

UNLOCKED = text(
    "INSERT INTO outbox (event_id, key, topic, payload) VALUES (:event_id, :key, :topic, :payload)"
)


@pytest.fixture
async def engine():
    with fresh_database() as url:
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=6)
        async with engine.begin() as connection:
            await connection.execute(text(outbox.TABLE))
            await connection.execute(text(outbox.INDEX))
        yield engine
        await engine.dispose()


async def write_and_relay(engine, requests, *, kind=Relay, before=(), **options):
    sessions = async_sessionmaker(engine)

    class Desk:
        def __init__(self):
            self.got, self.committed = [], list(before)

        async def write(self, add):
            payload = uuid.uuid4().hex
            async with sessions.begin() as session:
                await add(session, Event("AAPL", "placed", payload))
            self.committed.append(payload)

        async def publish(self, event):
            self.got.append(event.payload)

        async def relay(self):
            return await kind(sessions, self.publish, batch_size=1).run_once()

    async def fresh_desk():
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM outbox"))
            for payload in before:
                await connection.execute(UNLOCKED, vars(Event("AAPL", "placed", payload)))
        return Desk()

    async def nothing_is_lost_and_order_holds(desk, responses):
        async with engine.connect() as connection:
            left = list((await connection.scalars(text("SELECT payload FROM outbox ORDER BY id"))).all())
        went = list(dict.fromkeys(desk.got))
        assert set(desk.committed) <= set(went) | set(left), "an event is lost"
        for response in responses.values():
            assert not isinstance(response, Exception), repr(response)
        # What is left comes after what went, in the order of ids, unless it went already (at least once).
        order = went + [payload for payload in left if payload not in went]
        assert order == [it for it in desk.committed if it in order] or set(order) != set(desk.committed), (
            f"committed {desk.committed}, published {order}"
        )

    return await explore(
        fresh_desk,
        requests,
        invariant=nothing_is_lost_and_order_holds,
        gate=SQLAlchemyGate(engine),
        max_seconds=600,
        **options,
    )


def relay(desk):
    return desk.relay()


def writer(add=outbox.add):
    return lambda desk: desk.write(add)


async def test_two_writers_get_ids_in_the_order_of_their_commits(engine):
    write = writer()
    report = await write_and_relay(engine, {"A": write, "B": write})
    assert report.verdict == "exhausted", report


@pytest.mark.prove
async def test_two_writers_and_a_relay_keep_the_order_of_commits(engine):
    write = writer()
    requests = {"A": write, "B": write, "R": relay}
    report = await write_and_relay(engine, requests, preemption_bound=2)
    assert report.verdict == "bounded", report


async def test_two_relays_lose_nothing_and_keep_the_order(engine):
    report = await write_and_relay(engine, {"R": relay, "S": relay}, before=["a", "b"])
    assert report.verdict == "exhausted", report


async def test_a_relay_that_is_cut_off_at_any_statement_loses_nothing(engine):
    report = await write_and_relay(engine, {"R": relay}, before=["a", "b"], cancel=["R"])
    assert report.verdict == "exhausted", report


async def add_unlocked(session, event):
    await session.execute(UNLOCKED, vars(event))


async def test_adding_without_the_lock_is_found(engine):
    write = writer(add_unlocked)
    report = await write_and_relay(engine, {"A": write, "B": write})
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.message.startswith("committed")


class DeletesFirst(Relay):
    async def run_once(self):
        async with self._sessions.begin() as session:
            taken = (await session.execute(outbox._TAKE, {"limit": self._batch_size})).all()
            for row in taken:
                await session.execute(outbox._DONE, {"id": row.id})
        await asyncio.sleep(0)
        async with self._sessions.begin() as session:
            await session.execute(text("SELECT 1"))
        return sum([await self._try(row) for row in taken])


async def test_deleting_before_publishing_is_found(engine):
    report = await write_and_relay(engine, {"R": relay}, before=["a"], kind=DeletesFirst, cancel=["R"])
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.message == "an event is lost"
