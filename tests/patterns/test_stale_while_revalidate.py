"""Old values keep the page fast, never beyond their time, and one load a key renews them."""

import asyncio
import contextvars
import doctest
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from reference_app.patterns.stale_while_revalidate import NotLoaded, StaleWhileRevalidate


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


class Source:
    """A price that changes with every load, and loads that end when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.loads = self.running = self.most_at_once = 0
        self.error: Exception | None = None
        self.may_end = asyncio.Event()

    def clock(self) -> float:
        return self.now_s

    async def load(self, key: str) -> str:
        self.loads += 1
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        value = f"{key} {self.loads}"
        try:
            await self.may_end.wait()
            if self.error is not None:
                raise self.error
            return value
        finally:
            self.running -= 1


Make = Callable[..., StaleWhileRevalidate[str, str]]


async def settle() -> None:
    """Let every task go on until all of them wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def get(cache: StaleWhileRevalidate[str, str], key: str = "AAPL") -> str:
    answer = asyncio.create_task(cache.get(key))
    await settle()
    assert answer.done(), "a caller waits"
    return answer.result()


def five_and_thirty(make: Make, source: Source, **options: Any) -> StaleWhileRevalidate[str, str]:
    return make(load=source.load, fresh_s=5, stale_s=30, clock=source.clock, **options)


async def check_that_nobody_waits_for_a_renewal_and_it_is_one(make: Make) -> None:
    source = Source()
    source.may_end.set()
    async with five_and_thirty(make, source) as cache:
        assert [await get(cache), await get(cache)] == ["AAPL 1"] * 2
        source.now_s += 5
        source.may_end.clear()
        answers = [asyncio.create_task(cache.get("AAPL")) for _ in range(20)]
        await settle()
        assert all(answer.done() for answer in answers), "a caller waits although there is an old value"
        assert [answer.result() for answer in answers] == ["AAPL 1"] * 20
        assert (source.loads, source.running) == (2, 1), "one renewal is enough"
        source.may_end.set()
        await settle()
        assert await get(cache) == "AAPL 2"
        assert (source.loads, cache.fresh, cache.stale, cache.misses) == (2, 2, 20, 1)


async def check_that_nothing_older_than_allowed_is_given_out(make: Make) -> None:
    source = Source()
    async with five_and_thirty(make, source) as cache:
        slow = asyncio.create_task(cache.get("AAPL"))
        await settle()
        source.now_s += 20  # the age counts from the start of the load
        source.may_end.set()
        assert await slow == "AAPL 1"
        source.now_s += 14.9
        source.may_end.clear()
        assert await get(cache) == "AAPL 1"
        await settle()
        source.now_s += 0.1
        late = asyncio.create_task(cache.get("AAPL"))
        await settle()
        assert not late.done(), "a value was given out 35 s after it was read"
        source.may_end.set()
        assert await late == "AAPL 2"
        assert source.loads == 2, "the load that was under way was not joined"


async def check_that_the_old_value_outlives_errors_and_tries_are_spaced(make: Make) -> None:
    source = Source()
    source.may_end.set()
    async with five_and_thirty(make, source, retry_s=2) as cache:
        await get(cache)
        source.now_s += 6
        source.error = ConnectionError("the exchange is down")
        for _ in range(10):
            assert await get(cache) == "AAPL 1"
            await settle()
        assert (source.loads, cache.failures) == (2, 1), "every request tried again"
        source.now_s += 2
        await get(cache)
        await settle()
        assert (source.loads, cache.failures) == (3, 2)
        source.error = None
        source.now_s += 2
        await get(cache)
        await settle()
        assert await get(cache) == "AAPL 4"


async def check_that_callers_of_a_cold_key_share_its_load(make: Make) -> None:
    source = Source()
    async with five_and_thirty(make, source) as cache:
        callers = [asyncio.create_task(cache.get("AAPL")) for _ in range(10)]
        await settle()
        callers.pop().cancel()
        callers.pop(0).cancel()
        await settle()
        source.may_end.set()
        assert await asyncio.gather(*callers) == ["AAPL 1"] * 8, "a caller who left took others along"
        assert source.loads == 1


async def check_that_a_load_from_before_the_change_is_not_kept(make: Make) -> None:
    source = Source()
    async with five_and_thirty(make, source) as cache:
        before = asyncio.create_task(cache.get("AAPL"))
        await settle()
        cache.invalidate("AAPL")
        after = asyncio.create_task(cache.get("AAPL"))
        await settle()
        source.may_end.set()
        assert await before == "AAPL 1"
        assert await after == "AAPL 2", "who asked after the change got a value from before it"
        assert await get(cache) == "AAPL 2", "a late fill brought the old value back"


async def check_that_closing_ends_every_load(make: Make) -> None:
    source = Source()
    async with five_and_thirty(make, source) as cache:
        waiting = asyncio.create_task(cache.get("AAPL"))
        await settle()
        cache.invalidate("AAPL")
        also = asyncio.create_task(cache.get("AAPL"))
        await settle()
        assert source.running == 2
    assert source.running == 0, "a load outlived the cache"
    for caller in (waiting, also):
        with pytest.raises(NotLoaded):
            await caller
    with pytest.raises(NotLoaded):
        await get(cache)


async def check_that_loads_and_entries_are_bounded(make: Make) -> None:
    source = Source()
    async with five_and_thirty(make, source, max_loads=3, max_entries=2) as cache:
        keys = ["AAPL", "AMZN", "MSFT"]
        cold = [asyncio.create_task(cache.get(key)) for key in keys]
        await settle()
        with pytest.raises(NotLoaded):
            await get(cache, "IBM")
        source.may_end.set()
        await asyncio.gather(*cold)
        assert cache.skipped == 1
        assert source.most_at_once == 3
        source.loads = 0
        assert [await get(cache, key) for key in ("MSFT", "AMZN")] == ["MSFT 3", "AMZN 2"]
        assert source.loads == 0, "more was dropped than needed"
        await get(cache, "AAPL")
        assert source.loads == 1, "more was kept than allowed"


REQUEST = contextvars.ContextVar("REQUEST", default="nobody")


async def check_that_no_request_leaks_into_the_load(make: Make) -> None:
    seen = []

    async def load(key: str) -> str:
        seen.append(REQUEST.get())
        return key

    async with make(load=load, fresh_s=5, stale_s=30) as cache:
        REQUEST.set("the user who came first")
        await get(cache)
    assert seen == ["nobody"]


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(StaleWhileRevalidate))


class RenewsEachTime(StaleWhileRevalidate[str, str]):
    """Wrong: every request that gets an old value starts a load."""

    async def get(self, key: str) -> str:
        running = self._loads.pop(key, None)
        value = await super().get(key)
        if running is not None and key not in self._loads:
            self._loads[key] = running
        return value


class AwaitsTheLoad(StaleWhileRevalidate[str, str]):
    """Wrong: a caller of a cold key that is cancelled takes the load of all with it."""

    async def get(self, key: str) -> str:
        if key not in self._entries:
            return await (self._loads.get(key) or self._start(key))  # type: ignore[misc]
        return await super().get(key)


class DropsOnError(StaleWhileRevalidate[str, str]):
    """Wrong: the old value goes with the first load that fails."""

    def _ended(self, key: str, read_s: float, task: Any) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._entries.pop(key, None)
        super()._ended(key, read_s, task)


class TriesAtOnce(StaleWhileRevalidate[str, str]):
    """Wrong: the source that is down gets one load after the other."""

    def _ended(self, key: str, read_s: float, task: Any) -> None:
        super()._ended(key, read_s, task)
        if key in self._entries:
            self._entries[key].retry_at_s = 0.0


class AgeCountsFromTheEnd(StaleWhileRevalidate[str, str]):
    """Wrong: a slow load makes values older than allowed."""

    def _ended(self, key: str, read_s: float, task: Any) -> None:
        super()._ended(key, self.clock(), task)


class StoresLate(StaleWhileRevalidate[str, str]):
    """Wrong: the entry goes, and the load under way brings it back."""

    def invalidate(self, key: str) -> None:
        self._entries.pop(key, None)


class ClosesWithoutWaiting(StaleWhileRevalidate[str, str]):
    """Wrong: the loads that are current are cancelled, and nobody waits for their end."""

    async def __aexit__(self, *exc_info: object) -> None:
        self._context = None
        for task in self._loads.values():
            task.cancel()


class ContextOfTheRequest(StaleWhileRevalidate[str, str]):
    """Wrong: the load sees who happened to come first."""

    def _start(self, key: str) -> Any:
        self._context = contextvars.copy_context()
        return super()._start(key)


class KnowsNoLimits(StaleWhileRevalidate[str, str]):
    """Wrong: a burst of cold keys is a burst of loads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.max_loads = self.max_entries = 1_000_000


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (RenewsEachTime, check_that_nobody_waits_for_a_renewal_and_it_is_one),
        (AwaitsTheLoad, check_that_callers_of_a_cold_key_share_its_load),
        (DropsOnError, check_that_the_old_value_outlives_errors_and_tries_are_spaced),
        (TriesAtOnce, check_that_the_old_value_outlives_errors_and_tries_are_spaced),
        (AgeCountsFromTheEnd, check_that_nothing_older_than_allowed_is_given_out),
        (StoresLate, check_that_a_load_from_before_the_change_is_not_kept),
        (ClosesWithoutWaiting, check_that_closing_ends_every_load),
        (ContextOfTheRequest, check_that_no_request_leaks_into_the_load),
        (KnowsNoLimits, check_that_loads_and_entries_are_bounded),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Any, check: Any) -> None:
    with pytest.raises((AssertionError, asyncio.CancelledError, ConnectionError)):
        asyncio.run(check(twin))


@in_a_loop
async def test_the_error_of_a_cold_key_reaches_its_callers_and_is_not_kept() -> None:
    source = Source()
    source.may_end.set()
    async with five_and_thirty(StaleWhileRevalidate, source) as cache:
        source.error = ConnectionError("the exchange is down")
        with pytest.raises(ConnectionError, match="exchange is down"):
            await get(cache)
        source.error = None
        assert await get(cache) == "AAPL 2"
        assert cache.failures == 1


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(StaleWhileRevalidate).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"retry_s": 1.0, "max_entries": 10_000, "max_loads": 100}


@in_a_loop
async def test_a_load_that_cancels_itself_is_a_failure_with_its_pause() -> None:
    loads = 0

    async def load(key: str) -> str:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        if loads > 1:
            raise asyncio.CancelledError
        return "old"

    source = Source()
    cache = StaleWhileRevalidate(load=load, fresh_s=0, stale_s=60, retry_s=30, clock=source.clock)
    async with cache:
        assert await cache.get("AAPL") == "old"
        for seconds in (0, 0, 29, 1, 0):
            source.now_s += seconds
            assert await cache.get("AAPL") == "old"
            await settle()
        assert (loads, cache.failures) == (3, 2)
        with pytest.raises(NotLoaded, match="the load was cancelled"):
            await cache.get("IBM")
        assert cache.failures == 3


@in_a_loop
async def test_a_clock_may_begin_at_zero_and_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    source.now_s = 0.0
    source.may_end.set()
    cache = StaleWhileRevalidate(load=source.load, fresh_s=0, stale_s=60, clock=source.clock)
    async with cache:
        assert [await cache.get("AAPL") for _ in range(2)] == ["AAPL 1"] * 2
        await settle()
        assert source.loads == 2, "the second one renews it"
        source.error = ConnectionError("the exchange is down")
        assert await cache.get("AAPL") == "AAPL 2"
        await settle()
    # Not those of asyncio: what other tests have left is logged when it is collected.
    assert [it.getMessage() for it in caplog.records if it.name != "asyncio"] == [
        "a load failed, the old value stays"
    ]
    assert "the exchange is down" in caplog.text


@in_a_loop
async def test_a_load_that_asks_for_its_own_key_is_told_so() -> None:
    async def itself(key: str) -> str:
        return await cache.get(key)

    async def in_a_task(key: str) -> str:
        return (await asyncio.gather(cache.get(key)))[0]

    async def around(key: str) -> str:
        return await cache.get({"a": "b", "b": "a", "leaf": "leaf"}[key]) if key != "leaf" else "leaf"

    for load, key in ((itself, "a"), (in_a_task, "a"), (around, "a")):
        cache = StaleWhileRevalidate(load=load, fresh_s=5, stale_s=5)
        async with cache:
            with pytest.raises(NotLoaded, match="asks for its own key"):
                await asyncio.wait_for(cache.get(key), 5)


@in_a_loop
async def test_a_load_may_ask_for_other_keys() -> None:
    async def load(key: str) -> str:
        return key if len(key) == 1 else await cache.get(key[1:]) + key[0]

    cache = StaleWhileRevalidate(load=load, fresh_s=5, stale_s=5)
    async with cache:
        assert await asyncio.wait_for(cache.get("abc"), 5) == "cba"
        assert (cache.misses, cache.failures) == (3, 0)


@in_a_loop
async def test_with_no_age_nothing_is_given_out_twice_and_with_no_room_nothing_is_kept() -> None:
    for options in ({"fresh_s": 0, "stale_s": 0}, {"fresh_s": 5, "stale_s": 5, "max_entries": 0}):
        source = Source()
        source.may_end.set()
        cache = StaleWhileRevalidate(load=source.load, clock=source.clock, **options)  # type: ignore[arg-type]
        async with cache:
            assert [await cache.get("AAPL") for _ in range(2)] == ["AAPL 1", "AAPL 2"]
            assert (cache.misses, cache.fresh, cache.stale) == (2, 0, 0)


@in_a_loop
async def test_with_no_loads_allowed_and_once_closed_there_is_no_value() -> None:
    source = Source()
    cache = StaleWhileRevalidate(load=source.load, fresh_s=5, stale_s=5, max_loads=0)
    async with cache:
        with pytest.raises(NotLoaded, match="too many loads"):
            await cache.get("AAPL")
    with pytest.raises(NotLoaded, match="the cache is closed"):
        await cache.get("AAPL")
    assert (cache.skipped, source.loads) == (2, 0)


@in_a_loop
async def test_what_was_invalidated_is_loaded_anew() -> None:
    source = Source()
    source.may_end.set()
    async with five_and_thirty(StaleWhileRevalidate, source) as cache:
        assert await cache.get("AAPL") == "AAPL 1"
        cache.invalidate("AAPL")
        assert await cache.get("AAPL") == "AAPL 2"


@in_a_loop
async def test_the_entry_that_was_used_last_stays_longest() -> None:
    source = Source()
    source.may_end.set()
    async with five_and_thirty(StaleWhileRevalidate, source, max_entries=2) as cache:
        for key in ("a", "b", "a", "c", "a"):
            await cache.get(key)
        assert (source.loads, await cache.get("b")) == (3, "b 4")


@in_a_loop
async def test_a_load_that_fails_while_the_cache_closes_is_a_failure_and_one_that_is_cancelled_is_none() -> (
    None
):
    source = Source()
    cache = five_and_thirty(StaleWhileRevalidate, source)
    async with cache:
        for key in ("a", "b"):
            task = asyncio.create_task(cache.get(key))
            await settle()
            assert not task.done()
    assert cache.failures == 0

    async def stubborn(key: str) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LookupError("a clean-up that fails") from None
        return key

    failing: StaleWhileRevalidate[str, str] = StaleWhileRevalidate(load=stubborn, fresh_s=5, stale_s=5)
    async with failing:
        waiting = asyncio.create_task(failing.get("a"))
        await settle()
    with pytest.raises(LookupError):
        await waiting
    assert failing.failures == 1


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[StaleWhileRevalidate.__module__]).failed == 0
