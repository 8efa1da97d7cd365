"""A cancelled task goes on at once; the server learns of it later. No step is taken in between."""

import asyncio

import asyncpg
import pytest
import redis.asyncio as redis_client
from asyncpg import connect_utils
from deskbook.races import AsyncpgGate, RedisGate, explore
from deskbook.races._gates import standstill


@pytest.fixture(scope="session")
async def pool(postgres_url):
    async with asyncpg.create_pool(postgres_url, min_size=4, max_size=4) as pool:
        await pool.execute(
            "create schema after_cancel; create type after_cancel.mood as enum ('well', 'ill')"
        )
        await pool.execute("create table after_cancel.account (id int primary key, balance int not null)")
        yield pool


async def reset(pool):
    await pool.execute("truncate after_cancel.account; insert into after_cancel.account values (1, 100)")


async def withdraw(pool):
    await pool.execute("update after_cancel.account set balance = balance - 60 where id = 1")
    return "paid"


async def charge_a_fee(pool):
    async with pool.acquire() as c, c.transaction():
        await c.execute("update after_cancel.account set balance = balance - 1 where id = 1")


async def what_was_cancelled_was_not_booked(pool, responses):
    booked = 100 - await pool.fetchval("select balance from after_cancel.account")
    paid = responses["A"] == "paid"
    assert booked == 1 + 60 * paid, (
        f"booked {booked}, but the withdrawal was {'paid' if paid else 'cancelled'}"
    )


async def test_a_statement_that_waits_for_a_lock_is_over_before_the_next_step(
    pool, postgres_url, monkeypatch
):
    """The cancellation reaches the server late: the next step would free the lock, and A would be booked."""
    cancel, late = connect_utils._cancel, []

    async def cancel_late(**options):
        late.append(True)
        await asyncio.sleep(0.03)
        await cancel(**options)

    monkeypatch.setattr(connect_utils, "_cancel", cancel_late)
    reports = [
        await explore(
            lambda: pool,
            {"A": withdraw, "B": charge_a_fee},
            invariant=what_was_cancelled_was_not_booked,
            reset=reset,
            cancel=["A"],
            gate=AsyncpgGate(postgres_url),
            max_seconds=30,
        )
        for _ in range(2)
    ]
    assert late
    assert reports[0].verdict == "exhausted", reports[0]
    assert reports[0].text() == reports[1].text()


async def test_a_connection_that_was_given_up_is_gone_before_the_next_step(pool, postgres_url):
    """What a connection holds is freed when its process in the server ends, later than the client."""
    sessions = {}

    async def lock_and_give_up(pool):
        connection = await asyncpg.connect(postgres_url)
        sessions["A"] = connection.get_server_pid()
        try:
            await connection.execute("begin; lock table after_cancel.account")
            await connection.execute("rollback")
        finally:
            connection.terminate()

    async def look(pool):
        return await pool.fetchval(
            "select exists (select from pg_locks where pid = $1 and locktype = 'relation')",
            sessions.get("A", 0),
        )

    async def nothing_is_left(pool, responses):
        if isinstance(responses["A"], asyncio.CancelledError):
            found = await look(pool)
            assert not found, "the lock of a connection that was given up is still there"

    report = await explore(
        lambda: pool,
        {"A": lock_and_give_up, "B": look},
        invariant=nothing_is_left,
        reset=reset,
        cancel=["A"],
        gate=AsyncpgGate(postgres_url),
        max_seconds=30,
    )
    assert report.verdict == "exhausted", report


async def test_a_command_that_waits_in_redis_while_it_is_cancelled_is_reported_loudly(redis_url):
    """Whether it still takes what is pushed next depends on when the server sees the connection close."""
    async with redis_client.from_url(redis_url) as client:

        async def pop(client):
            return await client.blpop("orders", 5)

        async def push(client):
            return await client.lpush("orders", "buy")

        report = await explore(
            lambda: client,
            {"A": pop, "B": push},
            reset=lambda: client.flushdb(),
            cancel=["A"],
            gate=RedisGate(),
            max_seconds=30,
        )
    assert report.verdict == "inconclusive", report
    assert "NOT UNDER CONTROL: BLPOP waited in the server when A was cancelled" in report.text()


async def test_a_type_that_asyncpg_looks_up_is_no_step_of_the_service(pool, postgres_url):
    """Once a connection, asyncpg asks for an unknown array type with four statements of its own."""

    async def ask(pool):
        return await pool.fetchval("select array['well']::after_cancel.mood[]")

    async def new_connections(pool):
        await pool.expire_connections()

    report = await explore(
        lambda: pool,
        {"A": ask, "B": ask},
        invariant=lambda pool, responses: False,
        reset=new_connections,
        gate=AsyncpgGate(postgres_url),
        max_seconds=30,
    )
    assert report.counterexample is not None, report
    assert report.counterexample.schedule == "A2 B2", report


async def test_a_search_that_cannot_even_begin_says_so(pool, postgres_url, monkeypatch):
    monkeypatch.setattr(standstill, "GIVE_UP_AFTER_S", 0.1)

    async def never_answers(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def ask(pool):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await reader.readline()
        finally:
            writer.close()

    async with server:
        report = await explore(lambda: pool, {"A": ask}, gate=AsyncpgGate(postgres_url), max_seconds=5)
    assert report.verdict == "inconclusive"
    assert "DIVERGED: no answer in 0.1 s and no lock that explains it: I/O that has no gate" in report.text()
