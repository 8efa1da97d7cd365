"""Two readers and a writer in every order of their commands, on a real Valkey: nothing old afterwards."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from deskbook.races import RedisGate, explore
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reference_app.patterns.redis_cache import ALL, FILL, READ, RedisCache

ROW = "test_redis_cache:row"


class Desk:
    """A row (kept in Redis too, so that reading it is a step) and a cache in front of it."""

    def __init__(self, cache: type[RedisCache[str]], client: Redis) -> None:
        self.client = client
        self.cache = cache(
            client=client, prefix="test_redis_cache", encode=str.encode, decode=bytes.decode, ttl_s=60
        )
        self.committed = "1"

    async def read(self) -> str:
        row: bytes = await self.client.get(ROW)
        return row.decode()


async def ask(desk: Desk) -> tuple[str, str | None]:
    """Return the least that the caller may be told, and what it was told."""
    known = desk.committed
    return known, await desk.cache.get("AAPL", desk.read)


async def change(desk: Desk) -> None:
    await desk.client.set(ROW, "2")
    assert await desk.cache.invalidate("AAPL")
    desk.committed = "2"


async def nothing_old(desk: Desk, responses: dict[str, Any]) -> None:
    for response in responses.values():
        if isinstance(response, tuple):
            known, told = response
            assert told >= known, "who asked after the change was told the old price"
    price = await desk.cache.get("AAPL", desk.read)
    assert price == "2", "the old price stayed in the cache"
    assert desk.cache.failures == 0


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
    for script in (READ, FILL):
        await client.script_load(script)
    yield client
    await client.aclose()


TWO = {"A": ask, "W": change}
THREE = {"A": ask, "B": ask, "W": change}


async def search(
    client: Redis, kind: type[RedisCache[str]], requests: dict[str, Any], bound: int | None = None
) -> Any:
    async def start(desk: Desk) -> None:
        names = [f"{{test_redis_cache}}:{name}" for name in ("entry:AAPL", "tag:AAPL", "all")]
        await client.delete(*names)
        await client.set(ROW, "1")
        desk.committed = "1"

    return await explore(
        lambda: Desk(kind, client),
        requests,
        invariant=nothing_old,
        reset=start,
        gate=RedisGate(),
        preemption_bound=bound,
        max_seconds=300,
    )


@pytest.mark.parametrize(
    ("requests", "bound", "verdict"),
    [
        (TWO, None, "exhausted"),
        (THREE, 2, "bounded"),
        pytest.param(THREE, None, "exhausted", marks=pytest.mark.prove),  # a minute
    ],
)
async def test_no_order_of_commands_keeps_the_old_price(
    client: Redis, requests: dict[str, Any], bound: int | None, verdict: str
) -> None:
    report = await search(client, RedisCache, requests, bound)
    assert report.verdict == verdict, report.text()


class CacheAside(RedisCache[str]):
    """GET, load, SET, and DEL after the commit."""

    async def get(self, key: str, load: Callable[[], Awaitable[str | None]], *tags: str) -> str | None:
        found = await self.client.get(f"{{{self.prefix}}}:tag:{key}")
        if found is not None:
            return str(found.decode())
        value = await load()
        assert value is not None
        await self.client.set(f"{{{self.prefix}}}:tag:{key}", value, ex=60)
        return value


class TokensFromAfterTheLoad(RedisCache[str]):
    async def get(self, key: str, load: Callable[[], Awaitable[str | None]], *tags: str) -> str | None:
        keys = [f"{{{self.prefix}}}:entry:{key}", *map(self._tag, (ALL, key))]
        found = await self._try(self._read, keys, [uuid.uuid4().hex, 120_000])
        if found[2] is not None:
            return str(found[2][1:].decode())
        value = await load()
        assert value is not None
        found = await self._try(self._read, keys, [uuid.uuid4().hex, 120_000])
        await self._try(self._fill, keys, [*found[:2], b"+" + value.encode(), 60_000, 120_000])
        return value


@pytest.mark.parametrize("twin", [CacheAside, TokensFromAfterTheLoad])
async def test_a_wrong_twin_is_found(client: Redis, twin: Any) -> None:
    report = await search(client, twin, THREE)
    assert report.counterexample is not None, report.text()
    assert "old price" in str(report.counterexample.failure)
