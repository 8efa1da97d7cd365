"""One key, one effect: under copies of a request, and after a crash at every step, on a real PostgreSQL."""

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
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import InterfaceError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.schema import CreateSchema, DropSchema

from reference_app.patterns.idempotency_key import (
    _FIND,
    INDEX,
    MAX_BODY_BYTES,
    TABLE,
    IdempotencyError,
    IdempotencyKeys,
    Reply,
    fingerprint,
    parse_key,
)

Sessions = async_sessionmaker[AsyncSession]
SENT = fingerprint("POST", "/payments", b'{"amount": "5.00"}')


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def database() -> AsyncIterator[Sessions]:
    """Give sessions on a schema of this test's own, with the keys and a table of payments."""
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
        payments = "CREATE TABLE payments (id serial PRIMARY KEY, reference text NOT NULL)"
        for statement in (TABLE, INDEX, payments):
            await connection.execute(text(statement))
    try:
        yield async_sessionmaker(engine)
    finally:
        async with engine.begin() as connection:
            await connection.execute(DropSchema(schema, cascade=True))
        await engine.dispose()


async def payments(sessions: Sessions, reference: str = "%") -> int:
    async with sessions() as session:
        query = text("SELECT count(*) FROM payments WHERE reference LIKE :reference")
        return int(await session.scalar(query, {"reference": reference}))


def pay(reference: str = "one", status: int = 201) -> Any:
    async def work(session: AsyncSession) -> Any:
        query = text("INSERT INTO payments (reference) VALUES (:reference) RETURNING id")
        number = await session.scalar(query, {"reference": reference})
        return Reply(status, f"payment {number}".encode(), {"Location": f"/payments/{number}"})

    return work


async def copies_pay_once(kind: type[IdempotencyKeys]) -> bool:
    """A second copy of a request comes while the first is at work, a third after it."""
    async with database() as sessions:
        keys = kind(sessions)
        at_work, go_on = asyncio.Event(), asyncio.Event()

        async def slow(session: AsyncSession) -> Any:
            at_work.set()
            await asyncio.wait_for(go_on.wait(), 10)
            return await pay()(session)

        first = asyncio.create_task(keys.run("ann", "k", SENT, slow))
        await asyncio.wait_for(at_work.wait(), 10)
        with suppress(IdempotencyError):
            await keys.run("ann", "k", SENT, pay())
        go_on.set()
        reply = await first
        again = await keys.run("ann", "k", SENT, pay())
        if await payments(sessions) != 1:
            return False
        assert again == Reply(201, reply.body, reply.headers, replayed=True)
        assert (keys.executed, keys.outstanding, keys.replayed) == (1, 1, 1)
        return True


def test_a_copy_of_a_request_in_progress_is_told_to_wait_and_one_after_it_gets_the_same_reply() -> None:
    assert asyncio.run(copies_pay_once(IdempotencyKeys))


class Unlocked(IdempotencyKeys):
    """A wrong twin: it trusts the primary key to keep copies apart, but the effect is done by then."""

    async def run(self, owner: str, key: str, sent: bytes, work: Any) -> Any:
        names = {"owner": owner, "key": key}
        async with self._sessions.begin() as session:
            if (await session.execute(_FIND, names)).one_or_none() is None:
                reply = await work(session)
                await self._store(session, names, sent, reply)
                return reply
        return await super().run(owner, key, sent, work)


def test_looking_without_a_lock_is_rejected() -> None:
    assert not asyncio.run(copies_pay_once(Unlocked))


class Crash(Exception):
    """The process is gone."""


async def a_crash_at_any_step_pays_once(kind: type[IdempotencyKeys]) -> bool:
    """Cut the connection before the first statement, the second, ... the COMMIT; then the client retries."""
    async with database() as sessions:
        engine = sessions.kw["bind"].sync_engine
        steps_left = -1

        def step(connection: Any, *_: object) -> None:
            nonlocal steps_left
            steps_left -= 1
            if steps_left == -1:
                connection.connection.driver_connection.terminate()  # no ROLLBACK, no good-bye
                raise Crash

        event.listen(engine, "before_cursor_execute", step)
        event.listen(engine, "commit", step)
        keys = kind(sessions)
        for crash_at in range(100):
            reference = f"step {crash_at}"
            steps_left = crash_at
            try:
                await keys.run("ann", reference, SENT, pay(reference))
                break
            except (Crash, InterfaceError):  # the second: SQLAlchemy could not roll back any more
                assert steps_left < 0
            finally:
                steps_left = -1
            async with asyncio.timeout(10):
                while True:  # the server needs a moment to see that the connection is gone
                    with suppress(IdempotencyError):
                        reply = await keys.run("ann", reference, SENT, pay(reference))
                        break
            assert reply.status == 201
            if await payments(sessions, reference) != 1:
                return False
        assert crash_at >= 6, "lock, find, savepoint, effect, release, store, commit"
        # And the last step: everything is committed, but the reply is lost on its way.
        assert (await keys.run("ann", reference, SENT, pay(reference))).replayed
        return await payments(sessions, reference) == 1


def test_a_crash_at_any_step_and_a_retry_pay_once() -> None:
    assert asyncio.run(a_crash_at_any_step_pays_once(IdempotencyKeys))


class StoresAfterwards(IdempotencyKeys):
    """A wrong twin: effect first, and its reply in a second transaction, as most middleware does it."""

    async def run(self, owner: str, key: str, sent: bytes, work: Any) -> Any:
        names = {"owner": owner, "key": key}
        async with self._sessions() as session:
            if (await session.execute(_FIND, names)).one_or_none() is None:
                reply = await work(session)
                await session.commit()
                await self._store(session, names, sent, reply)
                await session.commit()
                return reply
        return await super().run(owner, key, sent, work)


def test_storing_the_reply_after_the_effect_is_rejected() -> None:
    assert not asyncio.run(a_crash_at_any_step_pays_once(StoresAfterwards))


@in_a_loop
async def test_a_key_belongs_to_one_request_of_one_owner() -> None:
    async with database() as sessions:
        keys = IdempotencyKeys(sessions)
        await keys.run("ann", "k", SENT, pay())
        with pytest.raises(IdempotencyError, match="belongs to another request") as caught:
            await keys.run("ann", "k", fingerprint("POST", "/payments", b'{"amount": "6.00"}'), pay())
        assert (caught.value.status, keys.reused, await payments(sessions)) == (422, 1, 1)
        assert not (await keys.run("bob", "k", SENT, pay())).replayed
        assert await payments(sessions) == 2


@in_a_loop
async def test_refusals_are_kept_without_effects_and_failures_leave_the_key_unused() -> None:
    async with database() as sessions:
        keys = IdempotencyKeys(sessions)

        async def fail(session: AsyncSession) -> Any:
            await pay("never")(session)
            raise RuntimeError("the exchange is closed")

        with pytest.raises(RuntimeError, match="exchange is closed"):
            await keys.run("ann", "k", SENT, fail)
        assert (await keys.run("ann", "k", SENT, pay("never", status=503))).status == 503
        refused = await keys.run("ann", "k", SENT, pay("never", status=409))
        assert (refused.status, refused.replayed) == (409, False)
        again = await keys.run("ann", "k", SENT, pay())
        assert (again.status, again.replayed, again.body) == (409, True, refused.body)
        assert await payments(sessions) == 0


@in_a_loop
async def test_a_reply_is_forgotten_after_its_time_and_purged_in_batches() -> None:
    async with database() as sessions:
        keys, brief = IdempotencyKeys(sessions), IdempotencyKeys(sessions, keep_for_s=0)
        assert (await brief.run("ann", "k", SENT, pay())).body == b"payment 1"
        other = fingerprint("POST", "/payments", b"another request: the key is free again")
        assert (await keys.run("ann", "k", other, pay())).body == b"payment 2"
        assert (await keys.run("ann", "k", other, pay())).replayed
        for number in range(3):
            await brief.run("ann", f"brief {number}", SENT, pay())
        assert [await keys.purge(limit=2) for _ in range(3)] == [2, 1, 0]
        assert (await keys.run("ann", "k", other, pay())).replayed


@in_a_loop
async def test_a_reply_that_is_too_large_is_an_error_and_undone() -> None:
    async with database() as sessions:

        async def large(session: AsyncSession) -> Any:
            await pay()(session)
            return Reply(201, b"x" * (MAX_BODY_BYTES + 1))

        with pytest.raises(ValueError, match="at most 65536"):
            await IdempotencyKeys(sessions).run("ann", "k", SENT, large)
        assert await payments(sessions) == 0


@in_a_loop
async def test_a_cancelled_request_leaves_the_key_unused_and_unlocked() -> None:
    async with database() as sessions:
        keys = IdempotencyKeys(sessions)
        at_work = asyncio.Event()

        async def stay(session: AsyncSession) -> Any:
            await pay()(session)
            at_work.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(keys.run("ann", "k", SENT, stay))
        await asyncio.wait_for(at_work.wait(), 10)
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()
        assert sessions.kw["bind"].pool.checkedout() == 0
        assert not (await keys.run("ann", "k", SENT, pay())).replayed
        assert await payments(sessions) == 1


@pytest.mark.parametrize(
    ("values", "key"),
    [
        (['"8e03978e-40d5-43e8-bc93-6894a57f9324"'], "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (["8e03978e-40d5"], "8e03978e-40d5"),
        (['"with space, comma; and [brackets]"'], "with space, comma; and [brackets]"),
        ([r'"an \"escaped\" \\ one"'], r"an \"escaped\" \\ one"),
        (['"' + "x" * 255 + '"'], "x" * 255),
    ],
)
def test_keys_are_read(values: list[str], key: str) -> None:
    assert parse_key(values) == key


@pytest.mark.parametrize(
    "values",
    [[], ["a", "b"], [""], ['""'], ['"open'], ['"a"b"'], ["a b"], ["a, b"], ['"é"'], ["é"], ['"\n"'],
     ["a\n"], ["x" * 256], ['"' + "x" * 256 + '"'], [r'"\x"'], ['"\x00"']],
)  # fmt: skip
def test_other_headers_are_refused_without_repeating_them(values: list[str]) -> None:
    with pytest.raises(IdempotencyError, match="send one Idempotency-Key") as caught:
        parse_key(values)
    assert caught.value.status == 400


def test_parts_of_a_fingerprint_cannot_be_shifted() -> None:
    assert fingerprint("POST", "/a", b"bc") != fingerprint("POST", "/ab", b"c")
    assert fingerprint("POST", "/a", b"") == fingerprint(b"POST", "/a", "")


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(IdempotencyKeys).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"keep_for_s": 86_400, "keep_refusals": True}


def test_a_purge_is_bounded_by_default() -> None:
    assert inspect.signature(IdempotencyKeys.purge).parameters["limit"].default == 1_000


@pytest.mark.parametrize("keep_for_s", [-1, 10 * 366 * 86_400 + 1, float("inf"), float("nan")])
def test_a_time_that_postgresql_cannot_keep_is_refused(keep_for_s: float) -> None:
    with pytest.raises(ValueError, match="keep_for_s"):
        IdempotencyKeys(async_sessionmaker(), keep_for_s=keep_for_s)


@in_a_loop
async def test_the_longest_time_and_the_largest_reply_are_kept() -> None:
    async with database() as sessions:
        keys = IdempotencyKeys(sessions, keep_for_s=10 * 366 * 86_400)

        async def large(session: AsyncSession) -> Any:
            return Reply(201, b"x" * MAX_BODY_BYTES)

        await keys.run("ann", "k", SENT, large)
        assert (await keys.run("ann", "k", SENT, large)).replayed


@pytest.mark.parametrize(
    ("status", "is_kept", "pays"), [(399, True, 1), (400, True, 0), (499, True, 0), (500, False, 0)]
)
@in_a_loop
async def test_what_is_kept_and_what_has_effect_goes_by_the_status(
    status: int, is_kept: bool, pays: int
) -> None:
    async with database() as sessions:
        keys = IdempotencyKeys(sessions)
        first = await keys.run("ann", "k", SENT, pay(status=status))
        assert (first.status, await payments(sessions)) == (status, pays)
        again = await keys.run("ann", "k", SENT, pay(status=status))
        assert again.replayed is is_kept
        assert (keys.executed, keys.replayed) == (2 - is_kept, int(is_kept))


@pytest.mark.parametrize("status", [399, 400, 503])
@in_a_loop
async def test_without_refusals_kept_the_work_raises_to_refuse(status: int) -> None:
    async with database() as sessions:
        keys = IdempotencyKeys(sessions, keep_refusals=False)
        if status < 400:
            await keys.run("ann", "k", SENT, pay(status=status))
            assert (await keys.run("ann", "k", SENT, pay())).replayed
        else:
            with pytest.raises(ValueError, match="raise to refuse"):
                await keys.run("ann", "k", SENT, pay(status=status))
            assert not (await keys.run("ann", "k", SENT, pay())).replayed
        assert await payments(sessions) == 1


@in_a_loop
async def test_a_request_in_progress_is_a_409_with_a_sentence() -> None:
    async with database() as sessions:
        keys = IdempotencyKeys(sessions)

        async def work(session: AsyncSession) -> Any:
            with pytest.raises(IdempotencyError, match="in progress; try again") as caught:
                await keys.run("ann", "k", SENT, pay())
            assert caught.value.status == 409
            return Reply(200, b"")

        await asyncio.wait_for(keys.run("ann", "k", SENT, work), 10)


@in_a_loop
async def test_a_purge_steps_around_what_another_one_purges() -> None:
    async with database() as sessions:
        brief = IdempotencyKeys(sessions, keep_for_s=0)
        for number in range(3):
            await brief.run("ann", f"k {number}", SENT, pay())
        async with sessions.begin() as other:
            await other.execute(text("SELECT 1 FROM idempotency_keys WHERE key = 'k 1' FOR UPDATE"))
            assert await asyncio.wait_for(brief.purge(), 10) == 2
        assert await brief.purge() == 1


def test_the_parts_of_a_request_cannot_be_shifted() -> None:
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ("a", "b", "c")]
    assert len({fingerprint(*it) for it in parts}) == len(parts)
    assert fingerprint("a", b"b") == fingerprint(b"a", "b")
    assert len(fingerprint("a")) == 32


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[IdempotencyKeys.__module__]).failed == 0
