"""Rate limits of the app: leases bound what several workers give out, and a caller is told what is left."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from deskbook.desk import running_app
from deskbook.services import fresh_redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reference_app.identity.tokens import Tokens
from reference_app.infra.database.redis_client import create_redis
from reference_app.infra.http.rate_limits import LEASE_S, LeasedLimiter
from reference_app.patterns.rate_limit import RateLimiter
from reference_app.settings import load_settings


@pytest.fixture
async def client() -> AsyncIterator[Redis]:
    async with fresh_redis() as url:
        client: Redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=10)
        try:
            yield client
        finally:
            await client.aclose()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def worker(client: Any, limit: int, batch: int, clock: Clock) -> LeasedLimiter:
    # A window of a day: nothing comes back while the test runs.
    return LeasedLimiter(RateLimiter(client=client, limit=limit, window_s=86_400), batch=batch, clock=clock)


async def test_several_workers_give_out_the_limit_and_not_one_more(client: Redis) -> None:
    clock = Clock()
    workers = [worker(client, 1000, 50, clock) for _ in range(3)]

    async def ask(own: LeasedLimiter) -> int:
        return sum([(await own.hit("ada"))[0].is_allowed for _ in range(1200)])

    counts = await asyncio.gather(*(ask(own) for own in workers))
    # Leases that are not used up are what is missing, and refused workers have none.
    assert sum(counts) == 1000
    assert sum(own._limiter.allowed + own._limiter.refused for own in workers) < 100  # trips to Redis


async def test_callers_at_the_same_moment_share_one_lease(client: Redis) -> None:
    own = worker(client, 1000, 64, Clock())
    results = await asyncio.gather(*(own.hit("ada") for _ in range(100)))
    assert all(decision.is_allowed for decision, _ in results)
    assert own._limiter.allowed == 7  # 1 + 2 + 4 + 8 + 16 + 32 + 64


async def test_who_asks_seldom_pays_one_for_one(client: Redis) -> None:
    clock = Clock()
    own = worker(client, 10, 5, clock)
    lefts = []
    for _ in range(10):
        lefts.append((await own.hit("ada"))[1])
        clock.now_s += LEASE_S
    assert lefts == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert not (await own.hit("ada"))[0].is_allowed


async def test_a_refusal_is_remembered_and_others_are_not_touched(client: Redis) -> None:
    own = worker(client, 2, 1, Clock())
    decisions = [(await own.hit("ada"))[0] for _ in range(50)]
    assert [decision.is_allowed for decision in decisions] == [True, True] + [False] * 48
    assert own._limiter.refused == 1
    assert decisions[-1].retry_after_s > 40_000
    assert (await own.hit("grace"))[0].is_allowed


async def test_without_redis_all_pass_and_it_is_asked_once_a_lease() -> None:
    nobody: Redis = Redis.from_url("redis://127.0.0.1:1", retry=Retry(NoBackoff(), 0))
    own = worker(nobody, 2, 10, Clock())
    assert all([(await own.hit("ada"))[0].is_allowed for _ in range(10)])
    assert own._limiter.uncounted == 1


async def test_over_the_limit_is_429_with_the_time_to_wait() -> None:
    async with running_app(rate_limit=3, rate_limit_window_s=86_400) as desk:
        replies = [await desk.client.get("/v1/instruments/AAPL") for _ in range(4)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
        lefts = [re.match(r'"default";r=([0-9]+);t=', reply.headers["ratelimit"]) for reply in replies]
        assert [left and left[1] for left in lefts] == ["2", "1", "0", "0"]
        refused = replies[-1]
        assert refused.json()["type"] == "/problems/too-many-requests"
        assert 28_000 < int(refused.headers["retry-after"]) <= 28_800
        assert refused.headers["ratelimit-policy"] == '"default";q=3;w=86400'
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert (await desk.client.head("/v1/instruments")).content == b""
        assert (await desk.client.get("/health/live")).status_code == 200
        # Another user has a limit of their own, and so has an address without a token.
        other = await desk.sign_in("grace")
        assert (await desk.client.get("/v1/instruments/AAPL", headers=other)).status_code == 200
        forged = {"Authorization": "Bearer forged"}
        for _ in range(3):
            reply = await desk.client.get("/v1/instruments/AAPL", headers=forged)
            assert reply.status_code == 200
        # A token that is made up is no caller of its own.
        forged = {"Authorization": "Bearer forged-anew"}
        assert (await desk.client.get("/v1/instruments/AAPL", headers=forged)).status_code == 429


async def test_without_redis_nobody_is_limited() -> None:
    async with running_app(rate_limit=1, redis_url=None) as desk:
        for _ in range(3):
            reply = await desk.client.get("/v1/instruments/AAPL")
            assert reply.status_code == 200
            assert "ratelimit" not in reply.headers


async def test_the_limit_and_the_route_look_a_token_up_once_together(monkeypatch: pytest.MonkeyPatch) -> None:
    verify, asked = Tokens.verify, []
    monkeypatch.setattr(Tokens, "verify", lambda self, token: asked.append(token) or verify(self, token))
    async with running_app() as desk:
        asked.clear()
        reply = await desk.client.get("/v1/users/me")
        assert (reply.status_code, "ratelimit" in reply.headers) == (200, True)
        assert len(asked) == 1


async def test_a_burst_of_callers_at_a_cold_pool_is_counted() -> None:
    async with fresh_redis() as url:
        settings = load_settings(
            database_url="postgresql://localhost/desk",
            redis_url=url,
            redis_max_connections=5,
            redis_timeout_s=10,
        )
        client = create_redis(settings, connection_wait_s=60)
        assert client is not None
        try:
            limiter = RateLimiter(client=client, limit=10, window_s=60)
            decisions = await asyncio.gather(*(limiter.hit(f"caller {number}") for number in range(300)))
        finally:
            await client.aclose()
    assert all(decision.is_counted for decision in decisions)
    assert limiter.uncounted == 0
