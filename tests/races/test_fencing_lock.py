"""Holders whose lock expires at any moment, in every order of their commands: a guarded row loses nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from deskbook.races import RedisGate, explore
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reference_app.patterns import fencing_lock
from reference_app.patterns.fencing_lock import ACQUIRE, RELEASE, FencingLock, LockLost, NotAcquired

LOCK, ROW = "{lock:test_fencing_lock}", "test_fencing_lock:row"
#: The statements of the docstring, in Redis, so that each is a step: UPDATE ... WHERE fence <= :fence, and
#: UPDATE ... WHERE fence = :fence.
TAKE_OVER = """
if tonumber(redis.call('HGET', KEYS[1], 'fence')) > tonumber(ARGV[1]) then return nil end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return redis.call('HGET', KEYS[1], 'count')
"""
WRITE = """
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'count', ARGV[2])
return 1
"""


class Jobs:
    """A row that is counted up under the lock, and how often that was reported as done."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.lock = FencingLock(client=client, ttl_s=600, wait_s=0)
        self.take_over, self.write = client.register_script(TAKE_OVER), client.register_script(WRITE)
        self.written = 0


async def guarded(jobs: Jobs) -> None:
    """Take the row over, read it, and write only while it is ours."""
    async with jobs.lock.hold("test_fencing_lock") as fence:
        count = await jobs.take_over(keys=[ROW], args=[fence])
        if count is not None and await jobs.write(keys=[ROW], args=[fence, int(count) + 1]):
            jobs.written += 1


async def unguarded(jobs: Jobs) -> None:
    """Trust the lock."""
    async with jobs.lock.hold("test_fencing_lock"):
        count = await jobs.client.hget(ROW, "count")
        await jobs.client.hset(ROW, "count", str(int(count or 0) + 1))
        jobs.written += 1


async def guarded_too_late(jobs: Jobs) -> None:
    """Read first, and show the fence only when writing: the old holder may write in between."""
    async with jobs.lock.hold("test_fencing_lock") as fence:
        count = await jobs.client.hget(ROW, "count")
        if await jobs.take_over(keys=[ROW], args=[fence]) is not None:
            await jobs.client.hset(ROW, "count", str(int(count or 0) + 1))
            jobs.written += 1


async def expire(jobs: Jobs) -> None:
    """Do to the lock what its time to live does when the holder is paused."""
    await jobs.client.delete(LOCK)


async def start(jobs: Jobs) -> None:
    await jobs.client.delete(LOCK, f"{LOCK}:fence", ROW)
    await jobs.client.hset(ROW, mapping={"fence": 0, "count": 0})
    jobs.written = 0


async def no_update_is_lost(jobs: Jobs, responses: dict[str, Any]) -> None:
    for name, response in responses.items():
        assert response is None or isinstance(response, LockLost | NotAcquired), f"{name}: {response!r}"
    count = await jobs.client.hget(ROW, "count")
    assert int(count or 0) == jobs.written, "an update was lost"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
    for script in (ACQUIRE, RELEASE, TAKE_OVER, WRITE):
        await client.script_load(script)
    yield client
    await client.aclose()


async def search(client: Redis, work: Any, bound: int | None = None) -> Any:
    return await explore(
        lambda: Jobs(client),
        {"A": work, "B": work, "X": expire},
        invariant=no_update_is_lost,
        reset=start,
        gate=RedisGate(),
        preemption_bound=bound,
        max_seconds=300,
    )


@pytest.mark.parametrize(
    ("bound", "verdict"), [(2, "bounded"), pytest.param(None, "exhausted", marks=pytest.mark.prove)]
)
async def test_the_guarded_row_loses_nothing(client: Redis, bound: int | None, verdict: str) -> None:
    report = await search(client, guarded, bound)
    assert report.verdict == verdict, report.text()


@pytest.mark.parametrize("work", [unguarded, guarded_too_late])
async def test_a_lock_alone_or_a_fence_shown_too_late_is_not_enough(client: Redis, work: Any) -> None:
    report = await search(client, work)
    assert report.counterexample is not None, report.text()
    assert "an update was lost" in str(report.counterexample.failure)


async def test_a_row_of_postgresql_refuses_a_holder_whose_time_was_up(
    client: Redis, postgres_url: str
) -> None:
    """The two statements of the docstring, as they stand there."""
    take_over = "UPDATE jobs SET fence = $2 WHERE id = $1 AND fence <= $2 RETURNING *"
    write = "UPDATE jobs SET state = 'done' WHERE id = $1 AND fence = $2"
    for statement in (take_over, write):
        assert statement.replace("$1", ":id").replace("$2", ":fence") in (fencing_lock.__doc__ or "")
    lock = FencingLock(client=client, wait_s=0)
    connection = await asyncpg.connect(postgres_url)

    async def be_late() -> None:
        async with lock.hold("test_fencing_lock") as late:
            assert await connection.fetchrow(take_over, 1, late) is not None
            await client.delete(LOCK)  # it expires while its holder is paused
            async with lock.hold("test_fencing_lock") as newer:
                assert await connection.fetchrow(take_over, 1, newer) is not None
                assert await connection.execute(write, 1, late) == "UPDATE 0"
                assert await connection.fetchrow(take_over, 1, late) is None
                assert await connection.execute(write, 1, newer) == "UPDATE 1"

    try:
        await connection.execute(
            "CREATE TEMPORARY TABLE jobs (id int PRIMARY KEY, state text, fence bigint NOT NULL DEFAULT 0)"
        )
        await connection.execute("INSERT INTO jobs VALUES (1, 'new')")
        with pytest.raises(LockLost):
            await be_late()
    finally:
        await connection.close()
