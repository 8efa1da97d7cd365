"""Two copies of a request, in every order of their statements on a real PostgreSQL, one of them cut off."""

import asyncio

import pytest
from deskbook.races import SQLAlchemyGate, explore
from deskbook.services import fresh_database
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from reference_app.patterns import idempotency_key
from reference_app.patterns.idempotency_key import IdempotencyError, IdempotencyKeys, Reply, fingerprint

SENT = fingerprint("POST", "/payments", b"{}")


@pytest.fixture
async def engine():
    with fresh_database() as url:
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=4)
        async with engine.begin() as connection:
            await connection.execute(text(idempotency_key.TABLE))
            await connection.execute(text("CREATE TABLE payments (id serial)"))
        yield engine
        await engine.dispose()


async def pay(session):
    await session.execute(text("INSERT INTO payments DEFAULT VALUES"))
    return Reply(201, b"paid")


async def send_copies(engine, kind, names="AB", **options):
    sessions = async_sessionmaker(engine)

    async def fresh_keys():
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM idempotency_keys"))
            await connection.execute(text("DELETE FROM payments"))
        return kind(sessions)

    def send(keys):
        return keys.run("ann", "k", SENT, pay)

    async def one_effect(keys, replies):
        async with engine.connect() as connection:
            paid = await connection.scalar(text("SELECT count(*) FROM payments"))
            kept = await connection.scalar(text("SELECT count(*) FROM idempotency_keys"))
        assert paid == kept <= 1, f"{paid} payments for {kept} key"
        for reply in replies.values():
            if isinstance(reply, Reply):
                assert paid == 1, "a client was told that it had paid"
            elif not isinstance(reply, asyncio.CancelledError):
                assert isinstance(reply, IdempotencyError), repr(reply)
                assert reply.status == 409
        if not any(isinstance(reply, asyncio.CancelledError) for reply in replies.values()):
            assert paid == 1, "both clients were sent away"

    return await explore(
        fresh_keys,
        dict.fromkeys(names, send),
        invariant=one_effect,
        gate=SQLAlchemyGate(engine),
        max_seconds=120,
        **options,
    )


async def test_two_copies_have_one_effect_in_every_order(engine):
    report = await send_copies(engine, IdempotencyKeys)
    assert report.verdict == "exhausted", report


async def test_a_request_that_is_cut_off_at_any_statement_leaves_all_or_nothing(engine):
    # Alone: a second one would race with the moment in which the server notices that the first is gone.
    report = await send_copies(engine, IdempotencyKeys, names="A", cancel=["A"])
    assert report.verdict == "exhausted", report


class Unlocked(IdempotencyKeys):
    async def run(self, owner, key, sent, work):
        names = {"owner": owner, "key": key}
        async with self._sessions.begin() as session:
            stored = (await session.execute(idempotency_key._FIND, names)).one_or_none()
            if stored is not None:
                return Reply(stored.status, stored.body, {}, replayed=True)
            reply = await work(session)
            await self._store(session, names, sent, reply)
            return reply


async def test_looking_without_a_lock_is_found(engine):
    report = await send_copies(engine, Unlocked)
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.message == "2 payments for 1 key"


class StoresAfterwards(IdempotencyKeys):
    async def _store(self, session, names, sent, reply):
        await session.commit()
        async with self._sessions.begin() as another:
            await super()._store(another, names, sent, reply)


async def test_storing_the_reply_in_a_second_transaction_is_found(engine):
    report = await send_copies(engine, StoresAfterwards, names="A", cancel=["A"])
    assert report.verdict == "counterexample", report
