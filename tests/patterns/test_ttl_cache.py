"""Never older than promised, never more than allowed, and never turned back by a load that comes late."""

import asyncio
import doctest
import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from reference_app.patterns.ttl_cache import TTLCache


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Load:
    """A load that has read its value when it starts and hands it over when the test says so."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.may_end = asyncio.Event()

    async def __call__(self) -> str:
        await self.may_end.wait()
        return self.value


async def settle() -> None:
    """Let every task go on until all of them wait."""
    for _ in range(10):
        await asyncio.sleep(0)


Start = Callable[..., TTLCache[str, str]]


async def start(cache: TTLCache[str, str], load: Load) -> asyncio.Task[str]:
    task = asyncio.create_task(cache.get_or_load("AAPL", load))
    await settle()
    return task


async def end(task: asyncio.Task[str], load: Load) -> str:
    load.may_end.set()
    return await asyncio.wait_for(task, 10)


async def check_that_a_load_from_before_the_change_is_not_kept(make: Start) -> None:
    cache, old = make(ttl_s=60, max_entries=10), Load("old")
    reader = await start(cache, old)
    cache.invalidate("AAPL")
    assert await end(reader, old) == "old"  # it asked before the change
    assert cache.get("AAPL") is None, "a late fill brought the old value back"
    assert cache.late_fills == 1


async def check_that_a_load_does_not_replace_what_was_put_meanwhile(make: Start) -> None:
    cache, old = make(ttl_s=60, max_entries=10), Load("old")
    reader = await start(cache, old)
    cache.put("AAPL", "new")
    await end(reader, old)
    assert cache.get("AAPL") == "new", "a late fill replaced the newer value"


async def check_that_clearing_outdates_loads_too(make: Start) -> None:
    cache, old = make(ttl_s=60, max_entries=10), Load("old")
    reader = await start(cache, old)
    cache.clear()
    await end(reader, old)
    assert cache.get("AAPL") is None, "a late fill survived the clearing"


async def check_that_of_two_loads_the_later_one_stays(make: Start) -> None:
    cache, old, new = make(ttl_s=60, max_entries=10), Load("old"), Load("new")
    first, second = await start(cache, old), await start(cache, new)
    assert await end(second, new) == "new"
    assert await end(first, old) == "old"
    assert cache.get("AAPL") == "new", "a load that began earlier replaced one that began later"


async def check_that_the_end_of_one_load_does_not_forgive_another(make: Start) -> None:
    cache, old, also_old = make(ttl_s=60, max_entries=10), Load("old"), Load("old too")
    first, second = await start(cache, old), await start(cache, also_old)
    cache.invalidate("AAPL")
    await end(first, old)
    await end(second, also_old)
    assert cache.get("AAPL") is None, "the second late fill was kept"


async def check_that_a_load_after_the_change_is_kept(make: Start) -> None:
    cache, old, new = make(ttl_s=60, max_entries=10), Load("old"), Load("new")
    first = await start(cache, old)
    cache.invalidate("AAPL")
    second = await start(cache, new)
    await end(second, new)
    await end(first, old)
    assert cache.get("AAPL") == "new", "the value from after the change was not kept"


async def check_that_the_age_counts_from_the_start_of_the_load(make: Start) -> None:
    clock = Clock()
    cache, slow = make(ttl_s=60, max_entries=10, clock=clock), Load("read at 0 s")
    reader = await start(cache, slow)
    clock.now_s += 50
    await end(reader, slow)
    clock.now_s += 9.9
    assert cache.get("AAPL") == "read at 0 s"
    clock.now_s += 0.1
    assert cache.get("AAPL") is None, "a value was given out 60 s after it was read"


async def check_that_the_least_recently_used_goes_first(make: Start) -> None:
    cache = make(ttl_s=60, max_entries=2)
    cache.put("AAPL", "1")
    cache.put("MSFT", "2")
    cache.get("AAPL")
    cache.put("AMZN", "3")
    assert (cache.get("AAPL"), cache.get("MSFT"), cache.get("AMZN")) == ("1", None, "3")
    assert (len(cache), cache.evicted) == (2, 1)


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Start], Awaitable[None]]) -> None:
    asyncio.run(check(TTLCache))


class StoresLate(TTLCache[str, str]):
    """Wrong: cache-aside as it is mostly written."""

    async def get_or_load(self, key: str, load: Callable[[], Awaitable[str]]) -> str:
        found = self.get(key)
        if found is None:
            started_s = self._clock()
            found = await load()
            self._store(key, found, started_s)
        return found


class StoresIfAbsent(TTLCache[str, str]):
    """Wrong: the repair that comes to mind; it does not see what was invalidated."""

    async def get_or_load(self, key: str, load: Callable[[], Awaitable[str]]) -> str:
        found = self.get(key)
        if found is None:
            found = await load()
            if key not in self._entries:
                self.put(key, found)
        return found


class ForgivesOnEnd(TTLCache[str, str]):
    """Wrong: a load that ends late takes the mark off for the next one."""

    async def get_or_load(self, key: str, load: Callable[[], Awaitable[str]]) -> str:
        try:
            return await super().get_or_load(key, load)
        finally:
            if key in self._loads:
                self._loads[key].outdated = 0


class AgeCountsFromTheEnd(TTLCache[str, str]):
    """Wrong: a slow load makes the value older than promised."""

    def _store(self, key: str, value: str, read_s: float) -> None:
        super()._store(key, value, self._clock())


class ClearsEntriesOnly(TTLCache[str, str]):
    """Wrong: what is being loaded is no entry yet."""

    def clear(self) -> None:
        self._entries.clear()


class FirstInFirstOut(TTLCache[str, str]):
    """Wrong: reading an entry does not keep it."""

    def get(self, key: str, default: Any = None) -> Any:
        order = list(self._entries)
        value = super().get(key, default)
        for name in order:
            if name in self._entries:
                self._entries.move_to_end(name)
        return value


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (StoresLate, check_that_a_load_from_before_the_change_is_not_kept),
        (StoresLate, check_that_a_load_does_not_replace_what_was_put_meanwhile),
        (StoresLate, check_that_of_two_loads_the_later_one_stays),
        (StoresIfAbsent, check_that_a_load_from_before_the_change_is_not_kept),
        (ForgivesOnEnd, check_that_the_end_of_one_load_does_not_forgive_another),
        (AgeCountsFromTheEnd, check_that_the_age_counts_from_the_start_of_the_load),
        (ClearsEntriesOnly, check_that_clearing_outdates_loads_too),
        (FirstInFirstOut, check_that_the_least_recently_used_goes_first),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Any, check: Any) -> None:
    with pytest.raises(AssertionError):
        asyncio.run(check(twin))


@in_a_loop
async def test_a_hit_loads_nothing_and_none_is_a_value() -> None:
    cache: TTLCache[str, str | None] = TTLCache(ttl_s=60, max_entries=10)
    loads = 0

    async def load() -> None:
        nonlocal loads
        loads += 1

    assert [await cache.get_or_load("NOPE", load) for _ in range(3)] == [None] * 3
    assert (loads, cache.hits, cache.misses) == (1, 2, 1)
    assert cache.get("NOPE", "default") is None
    assert cache.get("AAPL", "default") == "default"


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
@in_a_loop
async def test_a_load_that_does_not_end_well_leaves_nothing(how: str) -> None:
    cache: TTLCache[str, str] = TTLCache(ttl_s=60, max_entries=10)

    async def load() -> str:
        if how == "fails":
            raise ConnectionError("the exchange is down")
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(cache.get_or_load("AAPL", load))
    await settle()
    task.cancel()
    with pytest.raises((ConnectionError, asyncio.CancelledError)):
        await task
    assert len(cache) == 0
    assert cache._loads == {}, "the record of a load was left"
    fine = Load("131.12")
    fine.may_end.set()
    assert await cache.get_or_load("AAPL", fine) == "131.12"
    assert cache._loads == {}


@in_a_loop
async def test_memory_is_bounded_whatever_is_asked_for() -> None:
    cache: TTLCache[int, int] = TTLCache(ttl_s=60, max_entries=100)

    async def load() -> int:
        return 1

    for key in range(10_000):
        await cache.get_or_load(key, load)
        cache.invalidate(key + 20_000)
    assert (len(cache), len(cache._loads), cache.evicted) == (100, 0, 9_900)


@pytest.mark.parametrize("limits", [{"ttl_s": 0, "max_entries": 1}, {"ttl_s": 1, "max_entries": 0}])
def test_limits_without_sense_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TTLCache(**limits)


@pytest.mark.parametrize(
    "limits", [{"ttl_s": float("nan"), "max_entries": 1}, {"ttl_s": 1, "max_entries": -1}]
)
def test_other_limits_without_sense_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TTLCache(**limits)


def test_at_the_edge_of_its_time_a_value_is_given_out_and_then_no_more() -> None:
    now_s = 100.0
    cache: TTLCache[str, int] = TTLCache(ttl_s=5, max_entries=1, clock=lambda: now_s)
    cache.put("a", 1)
    now_s = 104.999
    assert cache.get("a") == 1
    now_s = 105.0
    assert cache.get("a") is None
    assert (cache.hits, cache.misses, cache.expired, len(cache)) == (1, 1, 1, 0)
    endless: TTLCache[str, int] = TTLCache(ttl_s=float("inf"), max_entries=1)
    endless.put("a", 1)
    endless.put("b", 2)
    assert (endless.get("a"), endless.get("b"), endless.evicted) == (None, 2, 1)


def test_what_was_invalidated_is_gone_and_so_is_what_was_cleared() -> None:
    cache: TTLCache[str, int] = TTLCache(ttl_s=0.5, max_entries=3)
    for number, key in enumerate("abc"):
        cache.put(key, number)
    cache.invalidate("a")
    assert (cache.get("a"), cache.get("b"), len(cache)) == (None, 1, 2)
    cache.clear()
    assert (cache.get("b"), cache.get("c"), len(cache)) == (None, None, 0)


def test_the_entry_that_was_used_or_stored_last_stays_longest() -> None:
    cache: TTLCache[str, int] = TTLCache(ttl_s=60, max_entries=2)
    cache.put("a", 1)
    cache.put("b", 1)
    cache.put("a", 2)  # stored anew
    cache.put("c", 1)
    assert [cache.get(key) for key in "abc"] == [2, None, 1]
    assert cache.get("a") == 2  # used
    cache.put("d", 1)
    assert [cache.get(key) for key in "acd"] == [2, None, 1]


@in_a_loop
async def test_a_load_that_is_stored_twice_is_the_newest_of_all() -> None:
    cache: TTLCache[str, int] = TTLCache(ttl_s=60, max_entries=2)

    async def one() -> int:
        return 1

    async def two() -> int:
        await cache.get_or_load("b", one)
        return 2

    assert await cache.get_or_load("a", one) == 1
    cache.invalidate("a")
    assert await cache.get_or_load("a", two) == 2
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [2, None, 3]


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[TTLCache.__module__]).failed == 0
