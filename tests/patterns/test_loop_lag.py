"""The lag is how late the loop woke the gauge: with a clock and a sleep of our own, to the millisecond."""

import asyncio
import doctest
import functools
import inspect
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from reference_app.patterns.loop_lag import LoopLag


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


class ScriptedTime:
    """A clock that only sleep moves; each sleep lasts as long as asked and then some."""

    def __init__(self, oversleeps_s: Sequence[float]) -> None:
        self.now_s = 100.0
        self.oversleeps_s = deque(oversleeps_s)
        self.over = asyncio.Event()

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        if not self.oversleeps_s:
            self.over.set()
            await asyncio.Event().wait()
        self.now_s += seconds + self.oversleeps_s.popleft()


@in_a_loop
async def lags_of(gauge: Callable[..., LoopLag], oversleeps_s: Sequence[float]) -> list[float]:
    """Run the gauge through the script and return what it observed."""
    seen: list[float] = []
    scripted = ScriptedTime(oversleeps_s)
    options = {"observe": seen.append, "clock": scripted.clock, "sleep": scripted.sleep}
    async with gauge(interval_s=0.1, window_s=1.0, **options):
        await asyncio.wait_for(scripted.over.wait(), 10)
    return seen


#: Two ticks on time, a block of 0.35 s from one tick to the next, two ticks on time again.
BLOCK = [0.0, 0.0, 0.35, 0.0, 0.0]


def says_that_a_block_counts_for_every_tick_it_swallowed(gauge: Callable[..., LoopLag]) -> bool:
    return lags_of(gauge, BLOCK) == pytest.approx([0.0, 0.0, 0.05, 0.15, 0.25, 0.35, 0.0, 0.0])


def test_a_block_counts_for_every_tick_it_swallowed() -> None:
    assert says_that_a_block_counts_for_every_tick_it_swallowed(LoopLag)


class OneSampleABlock(LoopLag):
    """The wrong twin, as most gauges are written: it asks again from the moment it was woken."""

    async def _tick(self) -> None:
        while True:
            asked_s = self._clock()
            await self._sleep(self._interval_s)
            self._record(self._clock() - asked_s - self._interval_s)


def test_a_gauge_that_starts_anew_after_each_block_is_rejected() -> None:
    assert lags_of(OneSampleABlock, BLOCK) == pytest.approx([0.0, 0.0, 0.35, 0.0, 0.0])
    assert not says_that_a_block_counts_for_every_tick_it_swallowed(OneSampleABlock)


def test_small_delays_do_not_add_up() -> None:
    """Each tick has its own moment: 30 ms late ten times is 30 ms, not 300."""
    assert lags_of(LoopLag, [0.03] * 10) == pytest.approx([0.03] * 10)


def test_a_block_longer_than_the_window_is_bounded_and_keeps_its_worst() -> None:
    seen = lags_of(LoopLag, [60.0])
    assert len(seen) == 10
    assert seen[-1] == max(seen) == pytest.approx(60.0)


def test_the_worst_is_forgotten_after_the_window_and_not_before() -> None:
    async def worst_after(ticks: int) -> float:
        scripted = ScriptedTime([0.05] + [0.0] * ticks)
        async with LoopLag(interval_s=0.1, window_s=1.0, clock=scripted.clock, sleep=scripted.sleep) as lag:
            await asyncio.wait_for(scripted.over.wait(), 10)
            assert lag.last_s == pytest.approx(0.0)
            return lag.worst_s

    assert asyncio.run(worst_after(9)) == pytest.approx(0.05)
    assert asyncio.run(worst_after(10)) == pytest.approx(0.0)


@in_a_loop
async def test_another_thread_sees_the_block_while_it_lasts() -> None:
    overdue_s: list[float] = []
    blocked = threading.Event()

    def watch(lag: LoopLag) -> None:
        deadline_s = time.monotonic() + 10
        while lag.overdue_s() < 0.05 and time.monotonic() < deadline_s:
            pass
        overdue_s.append(lag.overdue_s())
        blocked.set()

    async with LoopLag(interval_s=0.01) as lag:
        watcher = threading.Thread(target=watch, args=[lag])
        watcher.start()
        blocked.wait(timeout=20)  # holds the event loop until the watcher has seen it held
        watcher.join()
    assert overdue_s[0] >= 0.05


@in_a_loop
async def test_a_real_block_is_at_least_as_large_as_it_was() -> None:
    async with LoopLag(interval_s=0.01) as lag:
        time.sleep(0.3)  # noqa: ASYNC251 - the block is what is tested
        await asyncio.sleep(0.02)
        worst_s, overdue_s = lag.worst_s, lag.overdue_s()
    assert worst_s >= 0.28
    assert overdue_s < worst_s


@in_a_loop
async def test_nothing_is_left_running_and_nothing_is_overdue_afterwards() -> None:
    async with LoopLag(interval_s=0.01) as lag:
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(0.05)
    assert lag.overdue_s() == 0.0


@in_a_loop
async def test_an_observer_that_fails_is_heard_on_leaving() -> None:
    def observe(lag_s: float) -> None:
        raise RuntimeError("the registry is closed")

    with pytest.raises(RuntimeError, match="registry is closed"):
        async with LoopLag(interval_s=0.01, observe=observe):
            await asyncio.sleep(0.05)


@in_a_loop
async def test_leaving_while_being_cancelled_stays_a_cancellation() -> None:
    async def measured() -> None:
        async with LoopLag():
            await asyncio.Event().wait()

    task = asyncio.create_task(measured())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()


@pytest.mark.parametrize("options", [{"interval_s": 0}, {"window_s": -1.0}])
def test_values_without_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        LoopLag(**options)


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(LoopLag).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"interval_s": 0.1, "window_s": 15.0}


@pytest.mark.parametrize(
    "options",
    [
        {"window_s": 0},
        {"interval_s": float("nan")},
        {"window_s": float("inf")},
        {"window_s": float("nan")},
        {"interval_s": 0.1, "window_s": 100_001},
        {"interval_s": 5e-324},
    ],
    ids=str,
)
def test_numbers_that_memory_cannot_hold_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        LoopLag(**options)


def test_the_longest_window_is_taken_and_before_the_first_tick_nothing_is_late() -> None:
    gauge = LoopLag(interval_s=0.001, window_s=1000)
    assert gauge._lags_s.maxlen == 1_000_000
    assert (gauge.last_s, gauge.worst_s, gauge.overdue_s()) == (0.0, 0.0, 0.0)
    assert LoopLag(interval_s=10, window_s=1)._lags_s.maxlen == 1


@in_a_loop
async def test_after_a_block_the_ticks_go_on_at_their_moments() -> None:
    """The block of 0.35 s ends at 0.65 s: the next tick is due at 0.7 s, and then each at its moment."""
    moments: list[float] = []
    scripted = ScriptedTime([0.0, 0.0, 0.35, 0.0, 0.0])

    async def sleep(seconds: float) -> None:
        await scripted.sleep(seconds)
        moments.append(round(scripted.now_s - 100, 6))

    async with LoopLag(interval_s=0.1, window_s=1.0, clock=scripted.clock, sleep=sleep) as lag:
        await asyncio.wait_for(scripted.over.wait(), 10)
        assert lag.last_s == pytest.approx(0.0)
        assert lag.worst_s == pytest.approx(0.35)
    assert moments == [0.1, 0.2, 0.65, 0.7, 0.8]


@in_a_loop
async def test_the_last_lag_is_the_last_one() -> None:
    scripted = ScriptedTime([0.01, 0.03, 0.02])
    async with LoopLag(interval_s=0.1, window_s=1.0, clock=scripted.clock, sleep=scripted.sleep) as lag:
        await asyncio.wait_for(scripted.over.wait(), 10)
        assert lag.last_s == pytest.approx(0.02)
        assert lag.worst_s == pytest.approx(0.03)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[LoopLag.__module__]).failed == 0
