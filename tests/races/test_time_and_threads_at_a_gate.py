"""What takes real time beside the server is no deadlock, and timers fire when the search says."""

import asyncio
import hashlib
import socket
import threading
import time

import asyncpg
import pytest
import redis.asyncio as redis_client
from deskbook.races import AsyncpgGate, RedisGate, explore, post
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool


def work():
    """Takes some milliseconds in C, as a hash of a password does."""
    return hashlib.scrypt(b"x", salt=b"salt", n=2**12, r=8, p=1).hex()


def slow_check():
    time.sleep(0.01)


async def pause(client, tasks):
    await asyncio.sleep(0.08)


async def pool_of_threads(client, tasks):
    await run_in_threadpool(work)


async def thread(client, tasks):
    await asyncio.to_thread(work)


async def executor(client, tasks):
    await asyncio.get_running_loop().run_in_executor(None, slow_check)


async def two_threads_at_once(client, tasks):
    await asyncio.gather(asyncio.to_thread(work), asyncio.to_thread(slow_check))


async def background(client, tasks):
    async def later():
        await asyncio.sleep(0.05)
        await client.incr("later")

    tasks.add_task(later)


async def timeout_with_a_pause(client, tasks):
    async with asyncio.timeout(1):
        await asyncio.sleep(0.001)
        await client.incr("inside")


async def lock_that_polls(client, tasks):
    async with client.lock("lock", timeout=30):
        n = int(await client.get("guarded") or 0)
        await client.set("guarded", n + 1)


def app_with(kind, client, dependency=None):
    app = FastAPI()

    @app.post("/x", dependencies=[Depends(dependency)] if dependency else [])
    async def x(tasks: BackgroundTasks):
        await kind(client, tasks)
        return await client.incr("n")

    return app


KINDS = [pause, pool_of_threads, thread, executor, two_threads_at_once, background]


async def explore_redis(redis_url, kind, *, requests="AB", dependency=None, **options):
    async with redis_client.from_url(redis_url) as client:
        return await explore(
            lambda: app_with(kind, client, dependency),
            dict.fromkeys(requests, post("/x")),
            reset=client.flushdb,
            gate=RedisGate(),
            max_seconds=60,
            preemption_bound=1,
            **options,
        )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_what_ends_by_itself_is_no_deadlock(redis_url, kind):
    report = await explore_redis(redis_url, kind)
    assert report.verdict in {"exhausted", "bounded"}, report


@pytest.mark.parametrize("dependency", [work, slow_check], ids=lambda function: function.__name__)
async def test_a_sync_dependency_is_no_deadlock(redis_url, dependency):
    async def nothing(client, tasks):
        pass

    report = await explore_redis(redis_url, nothing, dependency=dependency)
    assert report.verdict in {"exhausted", "bounded"}, report


async def test_a_timeout_does_not_strike_a_request_that_could_go_on(redis_url):
    report = await explore_redis(redis_url, timeout_with_a_pause)
    assert report.verdict == "bounded", report


async def test_a_lock_that_polls_is_no_deadlock(redis_url):
    report = await explore_redis(redis_url, lock_that_polls, requests="A")
    assert report.verdict in {"exhausted", "bounded"}, report


async def test_a_lock_that_nobody_gives_back_is_still_a_deadlock(redis_url):
    lock = None

    async def never(client, tasks):
        await lock.acquire()

    async with redis_client.from_url(redis_url) as client:

        async def make():
            nonlocal lock
            await client.flushdb()
            lock = asyncio.Lock()
            return app_with(never, client)

        report = await explore(make, {"A": post("/x"), "B": post("/x")}, gate=RedisGate())
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.kind == "deadlock"


async def test_what_a_thread_of_the_service_may_still_bring_is_no_deadlock(redis_url):
    stop = threading.Event()

    async def from_outside(client, tasks):
        threading.Thread(target=stop.wait, name="feed").start()
        await asyncio.get_running_loop().create_future()

    try:
        report = await explore_redis(redis_url, from_outside)
    finally:
        stop.set()
    assert report.verdict == "inconclusive", report
    assert "feed" in report.text()


async def test_io_in_a_thread_without_a_gate_is_said(redis_url):
    def speak():
        one, other = socket.socketpair()
        one.sendall(b"x")
        other.recv(1)
        one.close()
        other.close()

    async def ask(client, tasks):
        await asyncio.to_thread(speak)

    report = await explore_redis(redis_url, ask)
    assert report.verdict == "inconclusive", report
    assert "I/O in a worker thread that has no gate" in report.text()


@pytest.fixture(scope="session")
async def pool(postgres_url):
    async with asyncpg.create_pool(postgres_url, min_size=3, max_size=3) as pool:
        await pool.execute("create table timed_money (id int primary key, n int)")
        yield pool


async def put_money_back(pool):
    await pool.execute("truncate timed_money; insert into timed_money values (1, 100), (2, 0)")


async def hold_the_second(pool):
    async with pool.acquire() as c, c.transaction():
        await c.fetch("select * from timed_money where id = 2 for update")
        await c.fetch("select 1")


async def total_is_kept(pool, responses):
    total = await pool.fetchval("select sum(n) from timed_money")
    assert total == 100, total


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_timeout_strikes_a_request_that_waits_for_a_lock(pool, postgres_url, in_transaction):
    first = "update timed_money set n = n - 10 where id = 1"
    second = "update timed_money set n = n + 10 where id = 2"

    async def transfer(pool):
        try:
            async with asyncio.timeout(30):
                if in_transaction:
                    async with pool.acquire() as c, c.transaction():
                        await c.execute(first)
                        await c.execute(second)
                else:
                    await pool.execute(first)
                    await pool.execute(second)
        except TimeoutError:
            raise HTTPException(504) from None

    report = await explore(
        lambda: pool,
        {"A": transfer, "B": hold_the_second},
        invariant=total_is_kept,
        reset=put_money_back,
        gate=AsyncpgGate(postgres_url),
        max_seconds=60,
        preemption_bound=2,
    )
    assert report.verdict == ("bounded" if in_transaction else "counterexample"), report
