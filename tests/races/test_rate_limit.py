"""Workers that hit the same bucket in every order of their commands, on a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from deskbook.races import RedisGate, explore
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reference_app.patterns.rate_limit import HIT, Decision, RateLimiter

LIMIT = 2
NAME = "rate_limit:default:alice"


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
    await client.script_load(HIT)
    yield client
    await client.aclose()


async def empty(limiter: RateLimiter) -> None:
    await limiter.client.delete(NAME)


async def hit(limiter: RateLimiter) -> Decision:
    return await limiter.hit("alice")


def exactly_the_limit(limiter: RateLimiter, responses: dict[str, Any]) -> None:
    allowed = [it for it in responses.values() if isinstance(it, Decision) and it.is_allowed]
    assert len(allowed) == LIMIT, f"{len(allowed)} of {len(responses)} were allowed"
    assert limiter.uncounted == 0


async def search(client: Redis, kind: type[RateLimiter]) -> Any:
    def fresh() -> RateLimiter:
        return kind(client=client, limit=LIMIT, window_s=3600)

    return await explore(
        fresh,
        {"A": hit, "B": hit, "C": hit},
        invariant=exactly_the_limit,
        reset=empty,
        gate=RedisGate(),
        max_seconds=60,
    )


async def test_the_limit_is_exact_in_every_order(client: Redis) -> None:
    report = await search(client, RateLimiter)
    assert report.verdict == "exhausted", report.text()


class ReadsThenWrites(RateLimiter):
    """Two commands, and between them another worker."""

    def __post_init__(self) -> None:
        super().__post_init__()

        async def hit(keys: Any, args: Any) -> Any:
            unit, size, units = args
            used = int(await self.client.get(keys[0]) or 0)
            if used + unit * units > size:
                return [0, used, 0]
            await self.client.set(keys[0], used + unit * units, px=3_600_000)
            return [1, used + unit * units, 0]

        self._hit = hit  # type: ignore[assignment]


async def test_a_wrong_twin_is_found(client: Redis) -> None:
    report = await search(client, ReadsThenWrites)
    assert report.counterexample is not None, report.text()
    assert "3 of 3 were allowed" in str(report.counterexample.failure)
