"""Nothing from before a confirmed invalidation, in any order; and without Redis slower, never wrong."""

import asyncio
import contextlib
import doctest
import functools
import inspect
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from reference_app.patterns.redis_cache import ALL, FILL, MAX_UNCONFIRMED, READ, RedisCache


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


class Switch:
    """A client that can be switched off, and then fails as one does whose server is gone."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.connection_pool = client.connection_pool
        self.is_off = False
        self.tries = 0

    def register_script(self, script: str) -> Callable[..., Awaitable[Any]]:
        run = self.client.register_script(script)

        async def call(keys: Any, args: Any) -> Any:
            self._check()
            return await run(keys=keys, args=args)

        return call

    async def delete(self, *names: str) -> Any:
        self._check()
        return await self.client.delete(*names)

    def _check(self) -> None:
        self.tries += 1
        if self.is_off:
            raise RedisConnectionError("refused")


class Load:
    """A load that has read its value when it starts and hands it over when the test says so."""

    def __init__(self, value: str | None, *, at_once: bool = False) -> None:
        self.value = value
        self.runs = 0
        self.may_end = asyncio.Event()
        self.has_read = asyncio.Event()
        if at_once:
            self.may_end.set()

    async def __call__(self) -> str | None:
        self.runs += 1
        self.has_read.set()
        await self.may_end.wait()
        return self.value


Make = Callable[..., RedisCache[str]]


class Desk:
    """Two workers with a cache in the same Redis."""

    def __init__(self, make: Make, client: Redis) -> None:
        self.redis = client
        self.prefix = f"test:{uuid.uuid4().hex}"
        self.switch = Switch(client)
        settings = {"prefix": self.prefix, "encode": str.encode, "decode": bytes.decode, "ttl_s": 60}
        self.cache = make(client=self.switch, pause_s=0, **settings)
        self.colleague = make(client=client, **settings)

    async def get(self, value: str | None = "loaded", key: str = "AAPL", *tags: str) -> str | None:
        return await self.cache.get(key, Load(value, at_once=True), *tags)

    async def start(self, load: Load, *tags: str) -> asyncio.Task[str | None]:
        task = asyncio.create_task(self.cache.get("AAPL", load, *tags))
        await asyncio.wait_for(load.has_read.wait(), 10)
        return task

    async def end(self, task: asyncio.Task[str | None], load: Load) -> str | None:
        load.may_end.set()
        return await asyncio.wait_for(task, 10)

    async def keys(self) -> list[bytes]:
        return [key async for key in self.redis.scan_iter(match=f"{{{self.prefix}}}:*", count=1_000)]


@contextlib.asynccontextmanager
async def desk_of(make: Make) -> AsyncIterator[Desk]:
    client: Redis = Redis.from_url(redis_url(), retry=Retry(NoBackoff(), 0))
    desk = Desk(make, client)
    try:
        yield desk
    finally:
        if keys := await desk.keys():
            await client.delete(*keys)
        await client.aclose()


async def check_that_a_load_from_before_the_invalidation_is_not_given_out(make: Make) -> None:
    for name in ("AAPL", "nasdaq", ALL):
        async with desk_of(make) as desk:
            old = Load("old")
            reader = await desk.start(old, "nasdaq")
            assert await desk.colleague.invalidate(name)
            assert await desk.end(reader, old) == "old"  # it asked before the change
            assert await desk.get("new", "AAPL", "nasdaq") == "new", "a late fill brought the old value back"
            assert desk.cache.late_fills == 1


async def check_that_of_two_loads_the_later_one_stays(make: Make) -> None:
    async with desk_of(make) as desk:
        old, new = Load("old"), Load("new")
        first, second = await desk.start(old), await desk.start(new)
        await desk.end(second, new)
        await desk.end(first, old)
        assert await desk.get("?") == "new", "a load that began earlier replaced one that began later"
        assert desk.cache.late_fills == 1


async def check_that_a_tag_drops_its_entries_in_all_workers_and_no_others(make: Make) -> None:
    async with desk_of(make) as desk:
        await desk.get("1", "AAPL", "nasdaq", "tech")
        await desk.get("1", "MSFT", "nasdaq")
        await desk.get("1", "IBM", "nyse", "tech")
        assert await desk.colleague.invalidate("nasdaq")
        assert await desk.get("2", "AAPL", "nasdaq", "tech") == "2"
        assert await desk.get("2", "MSFT", "nasdaq") == "2", "an entry outlived its tag"
        assert await desk.get("2", "IBM", "nyse", "tech") == "1", "too much was dropped"
        assert await desk.colleague.invalidate("AAPL", ALL)
        assert await desk.get("3", "IBM", "nyse", "tech") == "3"


async def check_that_what_redis_forgets_is_a_miss(make: Make) -> None:
    async with desk_of(make) as desk:
        await desk.get("old", "AAPL", "nasdaq")
        tags = [key for key in await desk.keys() if b":entry:" not in key]
        await desk.redis.delete(tags[0])  # evicted
        assert await desk.colleague.invalidate("nasdaq")
        assert await desk.get("new", "AAPL", "nasdaq") == "new", "an eviction brought an old entry back"


async def check_that_without_redis_the_value_is_loaded(make: Make) -> None:
    async with desk_of(make) as desk:
        desk.switch.is_off = True
        assert [await desk.get(str(number)) for number in range(3)] == ["0", "1", "2"]
        desk.switch.is_off = False
        late = Load("loaded")
        reader = await desk.start(late)
        desk.switch.is_off = True
        assert await desk.end(reader, late) == "loaded", "the fill failed, and with it the answer"


async def check_that_an_invalidation_that_failed_is_not_forgotten(make: Make) -> None:
    async with desk_of(make) as desk:
        await desk.get("old", "AAPL", "nasdaq")
        desk.switch.is_off = True
        assert not await desk.cache.invalidate("nasdaq"), "it claims what it could not do"
        desk.switch.is_off = False
        assert await desk.get("new", "AAPL", "nasdaq") == "new", "a failed invalidation was forgotten"
        assert await desk.get("?", "AAPL", "nasdaq") == "new"
        assert await desk.colleague.get("AAPL", Load("?", at_once=True), "nasdaq") == "new"


async def check_that_a_cancelled_invalidation_is_not_forgotten(make: Make) -> None:
    async with desk_of(make) as desk:
        await desk.get("old")
        held = asyncio.Event()

        async def hanging(*names: str) -> None:
            await held.wait()

        real, desk.switch.delete = desk.switch.delete, hanging  # type: ignore[method-assign, assignment]
        task = asyncio.create_task(desk.cache.invalidate("AAPL"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        desk.switch.delete = real  # type: ignore[method-assign]
        assert await desk.get("new") == "new", "a cancelled invalidation was forgotten"


async def check_that_what_does_not_exist_is_remembered_for_a_moment(make: Make) -> None:
    async with desk_of(make) as desk:
        missing = Load(None, at_once=True)
        assert [await desk.cache.get("NOPE", missing) for _ in range(3)] == [None] * 3
        assert missing.runs == 1, "what does not exist is looked for each time"
        assert 0 < await desk.redis.pttl(f"{{{desk.prefix}}}:entry:NOPE") <= 1_000
        assert await desk.cache.invalidate("NOPE")
        assert await desk.get("there", "NOPE") == "there"


async def check_that_everything_in_redis_ends_and_not_all_at_once(make: Make) -> None:
    async with desk_of(make) as desk:
        for number in range(30):
            await desk.get("1", str(number), "nasdaq")
        lives_ms = [await desk.redis.pttl(key) for key in await desk.keys()]
        assert len(lives_ms) == 30 + 30 + 2
        assert min(lives_ms) > 0, "a key stays for ever"
        entries_ms = [await desk.redis.pttl(f"{{{desk.prefix}}}:entry:{number}") for number in range(30)]
        assert 40_000 < min(entries_ms) <= max(entries_ms) <= 60_000
        assert max(entries_ms) - min(entries_ms) > 1_000, "what was filled together expires together"
        tags_ms = [await desk.redis.pttl(key) for key in await desk.keys() if b":tag:" in key]
        assert min(tags_ms) > 60_000, "a tag that ends before its entries loses them"


async def check_that_the_age_counts_from_the_start_of_the_load(make: Make) -> None:
    async with desk_of(make) as desk:
        with pytest.MonkeyPatch.context() as patch:
            slow = Load("read at 0 s")
            reader = await desk.start(slow)
            real = time.monotonic
            patch.setattr(time, "monotonic", lambda: real() + 40)
            await desk.end(reader, slow)
        assert 0 < await desk.redis.pttl(f"{{{desk.prefix}}}:entry:AAPL") <= 20_000


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(RedisCache))


class CacheAside(RedisCache[str]):
    """Wrong: GET, load, SET, and DEL after the commit, as everybody writes it."""

    async def get(self, key: str, load: Any, *tags: str) -> Any:
        client: Any = self.client
        entry = f"{{{self.prefix}}}:entry:{key}"
        found = await getattr(client, "client", client).get(entry)
        if found is None:
            value = await load()
            if value is not None:
                await getattr(client, "client", client).set(entry, value, ex=60)
            return value
        return found.decode()

    async def invalidate(self, *names: str) -> bool:
        await self.client.delete(*(f"{{{self.prefix}}}:entry:{name}" for name in names))
        return True


class TokensFromAfterTheLoad(RedisCache[str]):
    """Wrong: the tokens are asked for when the value is there."""

    async def get(self, key: str, load: Any, *tags: str) -> Any:
        keys = [f"{{{self.prefix}}}:entry:{key}", *map(self._tag, (ALL, key, *tags))]
        found = await self._try(self._read, keys, ["token" + uuid.uuid4().hex, 120_000])
        if found[2] is not None:
            return found[2][1:].decode()
        value = await load()
        found = await self._try(self._read, keys, ["token" + uuid.uuid4().hex, 120_000])
        await self._try(self._fill, keys, [*found[:2], b"+" + value.encode(), 60_000, 120_000])
        return value


class Altered(RedisCache[str]):
    """A twin whose scripts differ."""

    read, fill = READ, FILL

    def __post_init__(self) -> None:
        super().__post_init__()
        assert (self.read, self.fill) != (READ, FILL)
        self._read = self.client.register_script(self.read)
        self._fill = self.client.register_script(self.fill)


class CountsFromZero(Altered):
    """Wrong: a tag that was dropped or evicted begins again with the token that it had before."""

    read = READ.replace("ARGV[1], 'PX'", "'0', 'PX'")


class LastFillWins(Altered):
    """Wrong: whoever is slowest decides what all will see."""

    fill = FILL.replace("tonumber(entry[2]) > tonumber(ARGV[2])", "false")


class TagsForEver(Altered):
    """Wrong: a key for each name that was ever used."""

    read = READ.replace("ARGV[1], 'PX', ARGV[2], 'NX'", "ARGV[1], 'NX'")
    fill = FILL.replace("for i = 2, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[5]) end", "")


class ShortTags(Altered):
    """Wrong: the tags end when the entries do, and take them along before their time."""

    fill = FILL.replace("KEYS[i], ARGV[5]", "KEYS[i], ARGV[4]")


class ForgetsFailures(RedisCache[str]):
    """Wrong: fail open, also where that means to keep what is old."""

    async def invalidate(self, *names: str) -> bool:
        try:
            await self.client.delete(*map(self._tag, names))
        except Exception:
            return False
        return True


class FailsClosed(RedisCache[str]):
    """Wrong: without Redis there is no answer."""

    async def _try(self, script: Any, keys: Any, args: Any) -> Any:
        return await script(keys=keys, args=args)


class RemembersNoAbsence(RedisCache[str]):
    """Wrong: None is taken for a miss."""

    async def get(self, key: str, load: Any, *tags: str) -> Any:
        value = await super().get(key, load, *tags)
        if value is None:
            await self.invalidate(key)
        return value


class AgeCountsFromTheEnd(RedisCache[str]):
    """Wrong: a slow load makes the value older than promised."""

    async def _try(self, script: Any, keys: Any, args: Any) -> Any:
        if len(args) == 5:
            args = [*args[:3], 60_000, args[4]]
        return await super()._try(script, keys, args)


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (CacheAside, check_that_a_load_from_before_the_invalidation_is_not_given_out),
        (CacheAside, check_that_of_two_loads_the_later_one_stays),
        (CacheAside, check_that_what_does_not_exist_is_remembered_for_a_moment),
        (TokensFromAfterTheLoad, check_that_a_load_from_before_the_invalidation_is_not_given_out),
        (CountsFromZero, check_that_a_tag_drops_its_entries_in_all_workers_and_no_others),
        (LastFillWins, check_that_of_two_loads_the_later_one_stays),
        (TagsForEver, check_that_everything_in_redis_ends_and_not_all_at_once),
        (ShortTags, check_that_everything_in_redis_ends_and_not_all_at_once),
        (ForgetsFailures, check_that_an_invalidation_that_failed_is_not_forgotten),
        (ForgetsFailures, check_that_a_cancelled_invalidation_is_not_forgotten),
        (FailsClosed, check_that_without_redis_the_value_is_loaded),
        (RemembersNoAbsence, check_that_what_does_not_exist_is_remembered_for_a_moment),
        (AgeCountsFromTheEnd, check_that_the_age_counts_from_the_start_of_the_load),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Any, check: Any) -> None:
    with pytest.raises((AssertionError, RedisConnectionError)):
        asyncio.run(check(twin))


@in_a_loop
async def test_a_hit_loads_nothing_and_the_totals_say_so() -> None:
    async with desk_of(RedisCache) as desk:
        load = Load("131.12", at_once=True)
        assert [await desk.cache.get("AAPL", load) for _ in range(3)] == ["131.12"] * 3
        assert (load.runs, desk.cache.hits, desk.cache.misses, desk.cache.failures) == (1, 2, 1, 0)


@in_a_loop
async def test_while_redis_is_down_it_is_left_alone_for_a_while() -> None:
    async with desk_of(RedisCache) as desk:
        desk.cache.pause_s = 60
        desk.switch.is_off = True
        for _ in range(10):
            await desk.get()
        assert desk.switch.tries == 1, "every request waits for a Redis that is down"
        await desk.cache.invalidate("AAPL")
        assert desk.switch.tries == 2, "an invalidation is tried at any time"


@in_a_loop
async def test_many_failed_invalidations_become_one_of_all() -> None:
    async with desk_of(RedisCache) as desk:
        await desk.get("old", "AAPL", "nasdaq")
        desk.switch.is_off = True
        for number in range(2_000):
            await desk.cache.invalidate(f"name {number}")
        assert len(desk.cache._unconfirmed) <= MAX_UNCONFIRMED
        assert ALL in desk.cache._unconfirmed
        desk.switch.is_off = False
        assert await desk.get("new", "AAPL", "nasdaq") == "new"
        assert desk.cache._unconfirmed == {}


@in_a_loop
async def test_what_another_version_wrote_is_a_miss() -> None:
    async with desk_of(RedisCache) as desk:
        await desk.get("old")
        await desk.redis.hset(f"{{{desk.prefix}}}:entry:AAPL", "payload", b"+\xff\xfe")
        assert await desk.get("new") == "new"
        assert await desk.get("?") == "new"


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
@in_a_loop
async def test_a_load_that_does_not_end_well_leaves_nothing(how: str) -> None:
    async with desk_of(RedisCache) as desk:
        load = Load("never")
        reader = await desk.start(load)
        if how == "fails":
            load.value = 42  # type: ignore[assignment]  # encode raises
            with pytest.raises(TypeError):
                await desk.end(reader, load)
        else:
            reader.cancel()
            await asyncio.wait([reader])
            assert reader.cancelled()
        assert await desk.redis.exists(f"{{{desk.prefix}}}:entry:AAPL") == 0


def test_a_client_that_decodes_is_refused() -> None:
    client: Redis = Redis.from_url("redis://127.0.0.1:1", decode_responses=True)
    with pytest.raises(ValueError, match="decode_responses=False"):
        RedisCache(client=client, prefix="p", encode=str.encode, decode=bytes.decode, ttl_s=1)


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(RedisCache).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"absent_ttl_s": 1.0, "jitter": 0.1, "pause_s": 1.0}


def options_of(**options: Any) -> dict[str, Any]:
    return {"prefix": "p", "encode": str.encode, "decode": bytes.decode, "ttl_s": 1} | options


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_s": 0},
        {"ttl_s": -1},
        {"ttl_s": float("inf")},
        {"ttl_s": float("nan")},
        {"ttl_s": 1e9 + 1},
        {"absent_ttl_s": -1},
        {"absent_ttl_s": float("inf")},
        {"absent_ttl_s": 1e9 + 0.5},
        {"ttl_s": 1e9 + 0.5},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"prefix": ""},
        {"prefix": "a{b"},
        {"prefix": "}"},
    ],
    ids=str,
)
def test_options_out_of_their_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of its range, or prefix has braces"):
        RedisCache(client=Redis(), **options_of(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_s": 0.001},
        {"ttl_s": 1e9},
        {"ttl_s": 60, "absent_ttl_s": 0},
        {"ttl_s": 60, "absent_ttl_s": 1e9},
        {"ttl_s": 60, "jitter": 0},
        {"ttl_s": 60, "jitter": 1},
    ],
    ids=str,
)
@in_a_loop
async def test_the_edges_of_each_option_work(options: dict[str, Any]) -> None:
    async with desk_of(RedisCache) as desk:
        cache: RedisCache[str] = RedisCache(client=desk.redis, **options_of(prefix=desk.prefix, **options))
        for key, value in (("AAPL", "131.12"), ("NOPE", None)):
            for _ in range(2):
                assert await cache.get(key, Load(value, at_once=True)) == value
        assert cache.failures == 0
        if options.get("absent_ttl_s") == 0:
            assert (cache.hits, cache.misses) == (1, 3)


#: Prefixes and names that meet where they are joined without care.
MEETING = [
    ("a", "b"),
    ("a:entry", "b"),
    ("a:tag", "b"),
    ("a", "tag:b"),
    ("a", "entry:b"),
    ("a", "*"),
    ("a", "all"),
]


@in_a_loop
async def test_no_entry_and_no_tag_shares_a_key_with_another_and_all_of_a_prefix_share_a_hash_tag() -> None:
    async with desk_of(RedisCache) as desk:
        values: dict[tuple[str, str], RedisCache[str]] = {}
        for prefix, key in MEETING:
            full = f"{desk.prefix}:{prefix}"
            values[prefix, key] = RedisCache(client=desk.redis, **options_of(prefix=full, ttl_s=60))
            assert (
                await values[prefix, key].get(key, Load(f"{prefix} {key}", at_once=True)) == f"{prefix} {key}"
            )
        for (prefix, key), cache in values.items():
            assert await cache.get(key, Load("another", at_once=True)) == f"{prefix} {key}"
        assert await values["a", "*"].invalidate("*")
        assert await values["a", "b"].get("b", Load("another", at_once=True)) == "a b", (
            "a key is no tag of all"
        )
        names = [key async for key in desk.redis.scan_iter(match=f"{{{desk.prefix}:*")]
        assert all(name.startswith(b"{" + desk.prefix.encode()) and b"}:" in name for name in names)
        await desk.redis.delete(*names)


@in_a_loop
async def test_each_answer_is_counted_as_what_it_was() -> None:
    async with desk_of(RedisCache) as desk:
        for _ in range(3):
            await desk.get()
        assert (desk.cache.hits, desk.cache.misses, desk.cache.late_fills, desk.cache.failures) == (
            2,
            1,
            0,
            0,
        )
        await desk.colleague.invalidate("AAPL")
        load = Load("131.12")
        reader = await desk.start(load)
        await desk.colleague.invalidate("AAPL")
        assert await desk.end(reader, load) == "131.12"
        assert (desk.cache.hits, desk.cache.misses, desk.cache.late_fills) == (2, 2, 1)


@in_a_loop
async def test_redis_is_told_the_times_that_were_asked_for() -> None:
    async with desk_of(RedisCache) as desk:
        settings = options_of(prefix=desk.prefix, ttl_s=60, jitter=0)
        cache: RedisCache[str] = RedisCache(client=desk.redis, **settings)
        assert await cache.get("AAPL", Load("131.12", at_once=True), "nasdaq") == "131.12"
        names = {
            it: await desk.redis.pttl(f"{{{desk.prefix}}}:{it}") for it in ("all", "tag:AAPL", "tag:nasdaq")
        }
        assert all(119_000 < left_ms <= 120_000 for left_ms in names.values())
        assert 59_000 < await desk.redis.pttl(f"{{{desk.prefix}}}:entry:AAPL") <= 60_000
        for name in names:
            await desk.redis.pexpire(f"{{{desk.prefix}}}:{name}", 61_000)
        await desk.redis.delete(f"{{{desk.prefix}}}:entry:AAPL")
        await cache.get("AAPL", Load("131.12", at_once=True), "nasdaq")
        for name in names:
            assert await desk.redis.pttl(f"{{{desk.prefix}}}:{name}") > 119_000, (
                "a tag ends before its entries"
            )


@in_a_loop
async def test_up_to_a_thousand_names_wait_for_redis_one_by_one() -> None:
    async with desk_of(RedisCache) as desk:
        await desk.get("old")
        desk.switch.is_off = True
        for number in range(MAX_UNCONFIRMED):
            await desk.cache.invalidate(str(number))
        assert set(desk.cache._unconfirmed) == {str(number) for number in range(1_000)}
        await desk.cache.invalidate("one more")
        assert set(desk.cache._unconfirmed) == {ALL}


@in_a_loop
async def test_to_invalidate_nothing_is_no_failure() -> None:
    async with desk_of(RedisCache) as desk:
        assert await desk.cache.invalidate()
        assert (desk.cache.failures, desk.switch.tries) == (0, 0)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[RedisCache.__module__]).failed == 0
