"""Exactly so many, whatever the worker, the clock and the fate of a reply; on a real Redis or Valkey."""

import asyncio
import contextlib
import doctest
import functools
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reference_app.patterns.rate_limit import HIT, Decision, RateLimiter


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


def redis_url() -> str:
    url = os.environ.get("REDIS_URL")
    if not url:
        pytest.fail("Set REDIS_URL to a Redis or Valkey that this test may write to.", pytrace=False)
    return url


@contextlib.asynccontextmanager
async def connected(url: str | None = None, **options: Any) -> AsyncIterator[Redis]:
    # Patient: on a busy machine a reply that is late would count as an outage, which lets everybody in.
    patient: dict[str, Any] = {"socket_timeout": None, "socket_connect_timeout": None}
    client: Redis = Redis.from_url(url or redis_url(), retry=Retry(NoBackoff(), 0), **patient | options)
    try:
        yield client
    finally:
        await client.aclose()


Make = Callable[..., RateLimiter]


class Policy:
    """A limiter with a name of its own, and a way to let time pass for a bucket."""

    def __init__(self, make: Make, client: Redis, limit: int, window_s: int = 3600) -> None:
        self.client = client
        self.name = f"test-{uuid.uuid4().hex}"
        self.limiter = make(client=client, policy=self.name, limit=limit, window_s=window_s)

    async def allowed(self, times: int, units: int = 1) -> int:
        return sum([(await self.limiter.hit("alice", units)).is_allowed for _ in range(times)])

    async def pass_time(self, seconds: float) -> None:
        """Make the bucket of alice as much fuller as it will be then."""
        name = f"rate_limit:{self.name}:alice"
        full = await self.client.get(name)
        assert full is not None
        await self.client.set(name, int(full) - int(seconds * 1e6), keepttl=True)


async def check_that_the_limit_is_exact_and_refills_one_by_one(make: Make) -> None:
    async with connected() as client:
        policy = Policy(make, client, limit=7)
        assert await policy.allowed(10) == 7
        await policy.pass_time(3600 / 7 * 0.9)
        assert await policy.allowed(1) == 0
        await policy.pass_time(3600 / 7 * 0.2)
        assert await policy.allowed(3) == 1, "after the time of one unit there is one"
        await policy.pass_time(36_000)
        assert await policy.allowed(10) == 7, "a full bucket does not grow further"


async def check_that_refused_hits_cost_nothing(make: Make) -> None:
    async with connected() as client:
        policy = Policy(make, client, limit=2)
        assert await policy.allowed(50) == 2
        await policy.pass_time(1801)
        assert await policy.allowed(1) == 1, "who asks too often never gets in again"


async def check_that_units_are_taken_together_or_not_at_all(make: Make) -> None:
    async with connected() as client:
        policy = Policy(make, client, limit=10)
        assert await policy.allowed(1, units=8) == 1
        assert await policy.allowed(1, units=3) == 0
        assert await policy.allowed(3, units=1) == 2
        assert await policy.allowed(1, units=0) == 1


async def check_that_keys_live_until_the_bucket_is_full(make: Make) -> None:
    async with connected() as client:
        policy = Policy(make, client, limit=10, window_s=100)
        await policy.allowed(1, units=0)
        assert await client.exists(f"rate_limit:{policy.name}:alice") == 0
        await policy.allowed(3)
        assert 29_000 < await client.pttl(f"rate_limit:{policy.name}:alice") <= 30_000


async def check_that_the_clock_of_the_worker_does_not_count(make: Make) -> None:
    async with connected() as client:
        policy = Policy(make, client, limit=2)
        assert await policy.allowed(3) == 2
        with pytest.MonkeyPatch.context() as patch:
            real = time.time
            patch.setattr(time, "time", lambda: real() + 7200)
            assert await policy.allowed(3) == 0, "a worker whose clock is ahead lets everything in"


async def check_that_a_clock_that_jumped_back_locks_nobody_out(make: Make) -> None:
    async with connected() as client:
        policy = Policy(make, client, limit=2)
        await policy.allowed(2)
        await policy.pass_time(-86_400)  # the server of now is a day behind the one that wrote this
        decision = await policy.limiter.hit("alice")
        assert decision.retry_after_s <= 1800, "a failover locks the client out for a day"


async def check_that_many_at_once_are_counted_one_by_one(make: Make) -> None:
    async with connected() as client, connected() as other:
        policy = Policy(make, client, limit=20)
        colleague = make(client=other, policy=policy.name, limit=20, window_s=3600)
        hits = [worker.hit("alice") for _ in range(25) for worker in (policy.limiter, colleague)]
        decisions = await asyncio.gather(*hits)
        assert sum(decision.is_allowed for decision in decisions) == 20, "hits at the same time are lost"
        assert policy.limiter.allowed + colleague.allowed == 20
        assert policy.limiter.refused + colleague.refused == 30


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(RateLimiter))


class Altered(RateLimiter):
    """A twin whose script differs."""

    script = HIT

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.script != HIT
        self._hit = self.client.register_script(self.script)


class ChargesRefusals(Altered):
    """Wrong: every hit is charged."""

    script = HIT.replace("if wait <= 0 and units > 0 then", "if units > 0 then")


class NeverForgets(Altered):
    """Wrong: a key for each client that ever came."""

    script = HIT.replace(", 'PX', math.ceil((full - now) / 1000))", ")")


class NoClamp(Altered):
    """Wrong: it believes what another server's clock has written."""

    script = HIT.replace("full = math.min(full, now + size)", "")


class FixedWindow(Altered):
    """Wrong for a bucket: all come back at once, when the key has expired."""

    script = """
    local size, unit, units = tonumber(ARGV[2]), tonumber(ARGV[1]), tonumber(ARGV[3])
    local count = redis.call('INCRBY', KEYS[1], units)
    if count == units then redis.call('PEXPIRE', KEYS[1], size / 1000) end
    return {count * unit <= size and 1 or 0, 0, 0}
    """


class OwnClock(Altered):
    """Wrong: each worker brings its own time."""

    script = HIT.replace("local now = time[1] * 1000000 + time[2]", "local now = tonumber(ARGV[4])")

    def __post_init__(self) -> None:
        super().__post_init__()
        script = self._hit

        async def hit(keys: Any, args: Any) -> Any:
            return await script(keys=keys, args=[*args, int(time.time() * 1e6)])

        self._hit = hit  # type: ignore[assignment]


class ReadsThenWrites(RateLimiter):
    """Wrong: two commands; here all of the 50 who hit at once read before the first one writes."""

    all_have_read = asyncio.Barrier(50)

    def __post_init__(self) -> None:
        super().__post_init__()

        async def hit(keys: Any, args: Any) -> Any:
            unit, size, units = args
            used = int(await self.client.get(keys[0]) or 0)
            await self.all_have_read.wait()
            if used + unit * units > size:
                return [0, used, 0]
            await self.client.set(keys[0], used + unit * units, px=3_600_000)
            return [1, used + unit * units, 0]

        self._hit = hit  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (ChargesRefusals, check_that_refused_hits_cost_nothing),
        (NeverForgets, check_that_keys_live_until_the_bucket_is_full),
        (NoClamp, check_that_a_clock_that_jumped_back_locks_nobody_out),
        (FixedWindow, check_that_the_limit_is_exact_and_refills_one_by_one),
        (OwnClock, check_that_the_clock_of_the_worker_does_not_count),
        (ReadsThenWrites, check_that_many_at_once_are_counted_one_by_one),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Any, check: Any) -> None:
    with pytest.raises(AssertionError):
        asyncio.run(check(twin))


@in_a_loop
async def test_the_fields_tell_what_is_left_and_when_there_is_more() -> None:
    async with connected() as client:
        policy = Policy(RateLimiter, client, limit=10, window_s=100)
        decisions = [await policy.limiter.hit("alice", units) for units in (0, 4, 7, 6, 1)]
    fresh, four, refused, rest, empty = decisions
    name = fresh.policy
    assert fresh.headers() == {"RateLimit-Policy": f'"{name}";q=10;w=100', "RateLimit": f'"{name}";r=10;t=0'}
    assert four.headers()["RateLimit"] == f'"{name}";r=6;t=10'
    assert (refused.is_allowed, refused.remaining, refused.headers()["Retry-After"]) == (False, 6, "10")
    assert "Retry-After" not in rest.headers()
    assert empty.headers()["RateLimit"] == f'"{name}";r=0;t=10'
    assert empty.headers()["Retry-After"] == "10"


class Line:
    """One connection through the proxy."""

    def __init__(self, may_answer: asyncio.Event, lose_replies: bool) -> None:
        self.may_answer, self.lose_replies = may_answer, lose_replies
        self.is_script = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(redis_url())
        server_reader, server_writer = await asyncio.open_connection(target.hostname, target.port or 6379)
        commands = asyncio.create_task(self._commands(reader, server_writer))
        try:
            while reply := await server_reader.read(65_536):
                if self.is_script and not reply.startswith(b"-NOSCRIPT"):
                    if self.lose_replies:
                        break
                    await self.may_answer.wait()
                self.is_script = False
                writer.write(reply)
        except ConnectionError:
            pass  # the client has gone
        finally:
            commands.cancel()
            writer.close()
            server_writer.close()

    async def _commands(self, reader: asyncio.StreamReader, server_writer: asyncio.StreamWriter) -> None:
        while command := await reader.read(65_536):
            self.is_script = b"EVALSHA" in command
            server_writer.write(command)
        server_writer.close()


@contextlib.asynccontextmanager
async def proxy(lose_replies: bool = False) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Stand before Redis; replies to scripts wait for the event, or are lost with their connection."""
    may_answer = asyncio.Event()
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(Line(may_answer, lose_replies).serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    target = urlsplit(redis_url())
    secret, at, _ = target.netloc.rpartition("@")
    netloc = f"{secret}{at}127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield urlunsplit(target._replace(netloc=netloc)), may_answer
    finally:
        server.close()
        may_answer.set()
        await asyncio.wait_for(asyncio.gather(*serving), 10)


@in_a_loop
async def test_a_hit_whose_reply_is_lost_is_counted_once() -> None:
    async with connected() as client, proxy(lose_replies=True) as (url, _):
        policy = Policy(RateLimiter, client, limit=100)
        async with connected(url) as lossy:
            limiter = RateLimiter(client=lossy, policy=policy.name, limit=100, window_s=3600)
            decision = await limiter.hit("alice")
        assert (decision.is_allowed, decision.is_counted, limiter.uncounted) == (True, False, 1)
        assert decision.headers() == {"RateLimit-Policy": f'"{policy.name}";q=100;w=3600'}
        assert (await policy.limiter.hit("alice", 0)).remaining == 99


@in_a_loop
async def test_a_client_that_retries_is_refused() -> None:
    client = Redis.from_url("redis://127.0.0.1:1")
    with pytest.raises(ValueError, match="must not retry"):
        RateLimiter(client=client, limit=1, window_s=1)
    await client.aclose()


@in_a_loop
async def test_while_redis_is_down_hits_pass_uncounted_and_nobody_waits_long() -> None:
    async with proxy() as (url, _), connected(url, socket_timeout=0.05) as silent:
        limiter = RateLimiter(client=silent, limit=1, window_s=1)
        decisions = [await asyncio.wait_for(limiter.hit("alice"), 10) for _ in range(3)]
    async with connected("redis://127.0.0.1:1") as nobody:
        limiter = RateLimiter(client=nobody, limit=1, window_s=1)
        decisions += [await asyncio.wait_for(limiter.hit("alice"), 10) for _ in range(3)]
    assert [(it.is_allowed, it.is_counted) for it in decisions] == [(True, False)] * 6
    assert limiter.uncounted == 3


@in_a_loop
async def test_a_cancelled_hit_leaves_no_reply_for_the_next_one() -> None:
    async with proxy() as (url, may_answer), connected(url, max_connections=1) as client:
        policy = Policy(RateLimiter, client, limit=100)
        hit = asyncio.create_task(policy.limiter.hit("alice", 40))
        async with connected() as direct:
            while not await direct.exists(f"rate_limit:{policy.name}:alice"):
                assert not hit.done()
        # Redis has counted it, and its reply is on the way.
        hit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hit
        may_answer.set()
        assert (await policy.limiter.hit("bob", 1)).remaining == 99


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"window_s": 0}, {"policy": 'a"b'}, {"policy": ""}, {"limit": 10_000_000}]
)
@in_a_loop
async def test_values_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    async with connected("redis://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="must be"):
            RateLimiter(**{"client": client, "limit": 1, "window_s": 1} | wrong)
        with pytest.raises(ValueError, match="0 to 5"):
            await RateLimiter(client=client, limit=5, window_s=1).hit("alice", 6)


async def limiter_of(client: Redis, **options: Any) -> RateLimiter:
    return RateLimiter(client=client, policy=f"test-{uuid.uuid4().hex}", **options)


@pytest.mark.parametrize(
    ("limit", "window_s"),
    [(1, 1), (1, 366 * 86_400), (7, 3), (3, 10), (1_000_000, 1), (999_999, 1), (500_001, 1), (1_000_000, 60)],
)
@in_a_loop
async def test_never_more_than_the_limit_gets_through_in_a_window_whatever_the_numbers(
    limit: int, window_s: int
) -> None:
    async with connected() as client:
        limiter = await limiter_of(client, limit=limit, window_s=window_s)
        full = await limiter.hit("alice", limit)
        assert (full.is_allowed, full.remaining) == (True, 0)
        assert limiter._size_us >= window_s * 1_000_000, "the bucket is full again before its window is over"
        assert limiter._unit_us * limit == limiter._size_us
        assert limiter._unit_us - 1 < window_s * 1_000_000 / limit <= limiter._unit_us
        assert (await limiter.hit("bob", 0)).remaining == limit


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0, "window_s": 1},
        {"limit": 1_000_001, "window_s": 1},
        {"limit": 1, "window_s": 0},
        {"limit": 1, "window_s": -1},
        {"limit": 1, "window_s": 0.5},
        {"limit": 1, "window_s": 366 * 86_400 + 1},
        {"limit": 1, "window_s": 1, "policy": ""},
        {"limit": 1, "window_s": 1, "policy": "a:b"},
        {"limit": 1, "window_s": 1, "policy": "a\n"},
        {"limit": 1, "window_s": 1, "policy": "ä"},
    ],
    ids=str,
)
@in_a_loop
async def test_options_out_of_their_range_are_refused(options: dict[str, Any]) -> None:
    async with connected() as client:
        with pytest.raises(ValueError, match="limit must be"):
            RateLimiter(client=client, **options)


@in_a_loop
async def test_units_out_of_their_range_are_refused_and_cost_nothing() -> None:
    async with connected() as client:
        limiter = await limiter_of(client, limit=5, window_s=100)
        for units in (-1, 6):
            with pytest.raises(ValueError, match="units must be 0 to 5"):
                await limiter.hit("alice", units)
        assert (await limiter.hit("alice", 5)).is_allowed
        assert (limiter.allowed, limiter.refused, limiter.uncounted) == (1, 0, 0)


@in_a_loop
async def test_keys_and_policies_that_meet_are_different_buckets() -> None:
    async with connected() as client:
        name = f"test-{uuid.uuid4().hex}"
        one = RateLimiter(client=client, policy=name, limit=1, window_s=100)
        other = RateLimiter(client=client, policy=f"{name}-a", limit=1, window_s=100)
        for limiter, key in (
            (one, "a:b"),
            (one, "a"),
            (one, "b"),
            (one, ""),
            (other, "b"),
            (one, "ü\u2028\n"),
        ):
            assert (await limiter.hit(key)).is_allowed


@in_a_loop
async def test_what_is_told_is_what_redis_counts() -> None:
    async with connected() as client:
        limiter = await limiter_of(client, limit=4, window_s=100)
        first = await limiter.hit("alice", 3)
        assert (first.remaining, first.retry_after_s, first.is_counted) == (1, 0, True)
        assert 24 < first.reset_s <= 25
        refused = await limiter.hit("alice", 4)
        assert not refused.is_allowed
        assert 74 < refused.retry_after_s <= 75
        last = await limiter.hit("alice")
        assert last.is_allowed
        assert 24 < last.reset_s <= 25
        assert (limiter.allowed, limiter.refused) == (2, 1)


def test_a_hit_that_was_not_counted_says_nothing_of_units_and_times() -> None:
    decision = Decision("default", 100, 60, is_allowed=True)
    assert (decision.is_counted, decision.remaining, decision.reset_s, decision.retry_after_s) == (
        True,
        0,
        0,
        0,
    )


@pytest.mark.parametrize("retries", [1, -1])
def test_a_client_that_retries_at_all_is_refused(retries: int) -> None:
    with pytest.raises(ValueError, match="must not retry"):
        RateLimiter(client=Redis(retry=Retry(NoBackoff(), retries)), limit=1, window_s=1)


@in_a_loop
async def test_a_key_lives_for_exactly_as_long_as_its_bucket_needs() -> None:
    async with connected() as client:
        limiter = await limiter_of(client, limit=10, window_s=1_000_000)
        await limiter.hit("alice", 3)
        left_ms = await client.pttl(f"rate_limit:{limiter.policy}:alice")
        assert 299_990_000 < left_ms <= 300_000_000


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[RateLimiter.__module__]).failed == 0
