"""The patterns that use Redis, in a cluster: a script may touch keys of one slot only.

This test stays here: it starts a server. What travels looks at the names of the keys.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from deskbook.services.binaries import find
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from reference_app.patterns.fencing_lock import FencingLock, NotAcquired
from reference_app.patterns.rate_limit import RateLimiter
from reference_app.patterns.redis_cache import ALL, RedisCache

NAMES = ["report", "report:fence", "}", "{}", "a}b{c", ""]


def free_ports(number: int) -> list[int]:
    """Return ports that were free a moment ago, all of them at once."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [it.getsockname()[1] for it in listeners]
    for listener in listeners:
        listener.close()
    return ports


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Start a cluster of one node, which refuses keys of two slots like any other."""
    port, bus = free_ports(2)
    options = {"port": port, "cluster-port": bus, "bind": "127.0.0.1", "cluster-enabled": "yes", "save": ""}
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        command = [find("redis").server, *arguments, "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            asyncio.run(make_a_cluster(port))
            yield port
        finally:
            server.terminate()
            server.wait()


async def make_a_cluster(port: int) -> None:
    async with asyncio.timeout(30), Redis(port=port) as client:
        while True:
            try:
                await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
                break
            except RedisError:  # it does not answer yet
                await asyncio.sleep(0.05)
        while b"cluster_state:ok" not in await client.execute_command("CLUSTER", "INFO"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.fixture(params=["a client of one server", "a client of the cluster"])
async def client(port: int, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    retry = Retry(NoBackoff(), 0)
    is_one = request.param == "a client of one server"
    made: Any = (
        Redis(port=port, retry=retry) if is_one else RedisCluster(host="127.0.0.1", port=port, retry=retry)
    )
    await made.initialize()
    yield made
    await made.aclose()


async def test_keys_of_two_slots_are_refused_here(client: Any) -> None:
    script = client.register_script("return redis.call('MGET', KEYS[1], KEYS[2])")
    with pytest.raises((RedisError, RedisClusterException)):
        await script(keys=["a", "b"], args=[])


@pytest.mark.parametrize("name", NAMES)
async def test_a_lock_is_held_kept_and_given_back(name: str, client: Any) -> None:
    lock = FencingLock(client=client, wait_s=0, ttl_s=2)
    async with lock.hold(name) as first:
        while not lock.extended:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    async with lock.hold(name) as second:
        assert 0 < first < second


async def test_a_cluster_that_is_gone_is_an_outage_like_any_other() -> None:
    [port] = free_ports(1)
    retry = Retry(NoBackoff(), 0)
    gone: Any = RedisCluster(host="127.0.0.1", port=port, retry=retry)
    limiter = RateLimiter(client=gone, limit=2, window_s=100)
    assert not (await limiter.hit("alice")).is_counted
    cache = RedisCache(client=gone, prefix="p", encode=str.encode, decode=bytes.decode, ttl_s=60)
    assert await cache.get("AAPL", lambda: asyncio.sleep(0, "131.12")) == "131.12"
    assert not await cache.invalidate("AAPL")
    with pytest.raises(NotAcquired, match="did not answer"):
        async with FencingLock(client=gone, wait_s=0).hold("report"):
            pass


@pytest.mark.parametrize("name", NAMES)
async def test_a_limit_is_counted(name: str, client: Any) -> None:
    limiter = RateLimiter(client=client, policy=f"test-{uuid.uuid4().hex}", limit=2, window_s=100)
    decisions = [await limiter.hit(name) for _ in range(3)]
    assert [(it.is_allowed, it.is_counted) for it in decisions] == [(True, True), (True, True), (False, True)]


@pytest.mark.parametrize("name", NAMES)
async def test_a_value_is_cached_and_invalidated_by_key_and_by_tags(name: str, client: Any) -> None:
    async def load() -> str:
        loads.append(name)
        return str(len(loads))

    loads: list[str] = []
    prefix = f"test:{uuid.uuid4().hex}"
    cache = RedisCache(client=client, prefix=prefix, encode=str.encode, decode=bytes.decode, ttl_s=60)
    for by in ([name], ["nasdaq"], ["nasdaq", "tech"], [ALL]):
        before = await cache.get(name, load, "nasdaq", "tech")
        assert await cache.get(name, load, "nasdaq", "tech") == before
        assert await cache.invalidate(*by)
    assert (await cache.get(name, load, "nasdaq", "tech"), cache.failures) == ("5", 0)
