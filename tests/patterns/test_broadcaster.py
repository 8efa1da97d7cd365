"""A slow listener costs itself something and nobody else, and who comes back misses nothing unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from reference_app.patterns.broadcaster import Broadcaster, Missed, SlowListener

Make = Callable[..., Broadcaster[Any]]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def drain(subscription: Any) -> list[Any]:
    async with asyncio.timeout(1):
        return [message.data async for message in subscription]


# Each check is a rule, and a wrong twin further down (the pattern with one mistake) breaks it.


async def check_that_a_slow_listener_keeps_the_newest(make: Make) -> None:
    quotes = make(max_queued=3, when_full="drop_oldest")
    with quotes.subscribe() as slow, quotes.subscribe() as other:
        for price in range(10):
            quotes.publish(price)
            if price == 4:
                assert [(await anext(other)).data for _ in range(3)] == [2, 3, 4]
        quotes.close()
        assert await drain(slow) == [7, 8, 9]
        assert await drain(other) == [7, 8, 9]
        assert (slow.dropped, other.dropped, quotes.dropped) == (7, 4, 11)


async def check_that_a_slow_listener_is_cut_off_where_each_counts(make: Make) -> None:
    fills = make(max_queued=3, when_full="disconnect")
    with fills.subscribe() as slow, fills.subscribe() as quick:
        for fill in range(4):
            fills.publish(fill)
            assert (await anext(quick)).data == fill
        with pytest.raises(SlowListener):
            await anext(slow)
        assert (len(fills), fills.disconnected) == (1, 1), "it is still served"
        fills.publish(4)
        assert (await anext(quick)).data == 4


async def check_that_nothing_is_missed_unnoticed(make: Make) -> None:
    fills = make(max_queued=10, when_full="disconnect", history=5)
    with fills.subscribe() as subscription:
        for fill in range(3):
            fills.publish(fill)
        last = (await anext(subscription)).id
    with fills.subscribe(after=last) as again:
        fills.publish(3)
        assert [(await anext(again)).data for _ in range(3)] == [1, 2, 3]
        for fill in range(4, 8):
            fills.publish(fill)
        newest = [message.id for message in [await anext(again) for _ in range(4)]][-1]
    restarted = make(max_queued=10, when_full="disconnect", history=5)
    for fill in range(8):
        restarted.publish(fill)
    for service, after in ((fills, last), (restarted, newest), (fills, "nonsense"), (fills, "")):
        with pytest.raises(Missed), service.subscribe(after=after):
            pass
    assert len(fills) == 0


async def check_that_who_resumes_is_not_slow_at_once(make: Make) -> None:
    fills = make(max_queued=2, when_full="disconnect", history=5)
    with fills.subscribe() as subscription:
        fills.publish(0)
        last = (await anext(subscription)).id
    for fill in range(1, 5):
        fills.publish(fill)
    with fills.subscribe(after=last) as again:
        fills.publish(5)
        assert [(await anext(again)).data for _ in range(5)] == [1, 2, 3, 4, 5]


async def check_that_a_cancelled_wait_loses_no_message(make: Make) -> None:
    quotes = make(max_queued=10, when_full="disconnect")
    with quotes.subscribe() as subscription:
        waiting = asyncio.create_task(anext(subscription))
        await settle()
        quotes.publish("AAPL")
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert (await asyncio.wait_for(anext(subscription), 1)).data == "AAPL"


async def check_that_every_listener_ends_with_the_service(make: Make) -> None:
    quotes = make(max_queued=10, when_full="disconnect")
    with quotes.subscribe() as waiting, quotes.subscribe() as behind:
        listening = asyncio.create_task(drain(waiting))
        await settle()
        quotes.publish("AAPL")
        quotes.close()
        assert await listening == ["AAPL"]
        assert await drain(behind) == ["AAPL"]
    with quotes.subscribe() as late:
        assert await drain(late) == []


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(Broadcaster))


class DropsTheNewest(Broadcaster[Any]):
    """Wrong: a full queue takes nothing; the listener sees prices of a minute ago."""

    def publish(self, data: Any) -> None:
        full = [it for it in self._subscriptions if len(it._queue) >= it._limit]
        self._subscriptions -= set(full)
        super().publish(data)
        self._subscriptions |= set(full)


class MarksOnly(Broadcaster[Any]):
    """Wrong: the listener is told that it is cut off, and yet is served on."""

    def publish(self, data: Any) -> None:
        before = set(self._subscriptions)
        super().publish(data)
        self._subscriptions |= before


class NumbersAreEnough(Broadcaster[Any]):
    """Wrong: after a restart the numbers begin anew, and an old one means something else."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._origin = ""


class GivesWhatItHas(Broadcaster[Any]):
    """Wrong: it resumes with the messages that are left, and nobody sees that some are missing."""

    def subscribe(self, after: str | None = None) -> Any:
        known = [it.id for it in self._kept]
        return super().subscribe(after if after in known or not known else known[0])


class MissedCounts(Broadcaster[Any]):
    """Wrong: what is replayed fills the queue, and the next message cuts the listener off again, for ever."""

    @contextlib.contextmanager
    def subscribe(self, after: str | None = None) -> Any:
        with super().subscribe(after) as subscription:
            subscription._limit = self.max_queued
            yield subscription


class HandsOver(Broadcaster[Any]):
    """Wrong: the message goes to a future that waits; a listener cancelled then takes it along."""

    @contextlib.contextmanager
    def subscribe(self, after: str | None = None) -> Any:
        with super().subscribe(after) as inner:

            async def messages() -> Any:
                while True:
                    await inner._changed.wait()
                    message = inner._queue.popleft()
                    inner._changed.clear()
                    await asyncio.sleep(0)
                    yield message

            yield messages()


class ClosesQuietly(Broadcaster[Any]):
    """Wrong: a listener that waits is not woken, and the server waits for it."""

    def close(self) -> None:
        self._end = StopAsyncIteration()


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (DropsTheNewest, check_that_a_slow_listener_keeps_the_newest),
        (MarksOnly, check_that_a_slow_listener_is_cut_off_where_each_counts),
        (NumbersAreEnough, check_that_nothing_is_missed_unnoticed),
        (GivesWhatItHas, check_that_nothing_is_missed_unnoticed),
        (MissedCounts, check_that_who_resumes_is_not_slow_at_once),
        (HandsOver, check_that_a_cancelled_wait_loses_no_message),
        (ClosesQuietly, check_that_every_listener_ends_with_the_service),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Make, check: Callable[[Make], Awaitable[None]]) -> None:
    rejected = (AssertionError, TimeoutError, SlowListener, StopAsyncIteration, pytest.fail.Exception)
    with pytest.raises(rejected):
        asyncio.run(check(twin))


@in_a_loop
async def test_a_listener_that_leaves_while_all_are_served_is_left_out() -> None:
    quotes = Broadcaster[int](max_queued=1, when_full="disconnect")
    with quotes.subscribe():
        pass
    quotes.publish(1)
    assert (len(quotes), quotes.published, quotes.disconnected) == (0, 1, 0)


@in_a_loop
async def test_a_listener_cut_off_keeps_nothing_in_memory() -> None:
    fills = Broadcaster[bytes](max_queued=2, when_full="disconnect")
    with fills.subscribe() as hangs_in_its_send:
        for _ in range(5):
            fills.publish(b"x")
        assert len(hangs_in_its_send._queue) == 0


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(Broadcaster).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"history": 100}


@pytest.mark.parametrize("options", [{"max_queued": 0}, {"max_queued": -1}, {"max_queued": 1, "history": -1}])
def test_numbers_without_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Broadcaster[int](when_full="drop_oldest", **options)


@in_a_loop
async def test_with_room_for_one_and_nothing_kept_the_newest_comes_and_nobody_resumes() -> None:
    quotes = Broadcaster[int](max_queued=1, when_full="drop_oldest", history=0)
    with quotes.subscribe() as subscription:
        for price in range(3):
            quotes.publish(price)
        message = await anext(subscription)
        assert (message.data, subscription.dropped) == (2, 2)
        with pytest.raises(Missed), quotes.subscribe(after=message.id):
            pass


@in_a_loop
async def test_one_who_waits_is_woken_by_a_message_and_by_the_end() -> None:
    quotes = Broadcaster[int](max_queued=1, when_full="drop_oldest")
    with quotes.subscribe() as subscription:
        waiting = asyncio.create_task(anext(subscription))  # type: ignore[arg-type]
        await settle()
        quotes.publish(1)
        assert (await asyncio.wait_for(waiting, 5)).data == 1
        waiting = asyncio.create_task(drain(subscription))  # type: ignore[assignment]
        await settle()
        quotes.close()
        assert await asyncio.wait_for(waiting, 5) == []


@in_a_loop
async def test_a_slow_listener_that_waits_no_more_is_told_why() -> None:
    fills = Broadcaster[int](max_queued=2, when_full="disconnect")
    with fills.subscribe() as slow:
        for fill in range(3):
            fills.publish(fill)
        with pytest.raises(SlowListener, match="2 messages"):
            await anext(slow)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[Broadcaster.__module__]).failed == 0
