"""Never more at once than allowed, in all calls together; no result, no error and no task is lost."""

from __future__ import annotations

import asyncio
import doctest
import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from reference_app.patterns.bounded_fan_out import Failed, FanOut, NestedCall, WorkCancelled

Make = Callable[..., FanOut]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Exchange:
    """Answers when the test says so, and counts who asks at once."""

    def __init__(self, *, open_: bool = False) -> None:
        self.answers = asyncio.Event()
        if open_:
            self.answers.set()
        self.asking = self.most_asking = self.cancelled = 0
        self.asked: list[int] = []

    async def __call__(self, number: int) -> int:
        self.asked.append(number)
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        try:
            await self.answers.wait()
            await asyncio.sleep(0)
            return number * 10
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # the clean-up
            self.cancelled += 1
            raise
        finally:
            self.asking -= 1


# Each check is a rule, and a wrong twin further down (the pattern with one mistake) breaks it.


async def check_that_the_limit_holds_over_all_calls(make: Make) -> None:
    fan_out, exchange = make(limit=4, timeout_s=None), Exchange(open_=True)
    calls = [fan_out.map(exchange, range(20)), fan_out.outcomes(exchange, range(20), None)]
    async with asyncio.timeout(10):
        assert await asyncio.gather(*calls) == [[number * 10 for number in range(20)]] * 2
    assert exchange.most_asking == 4
    assert (fan_out.running, fan_out.done) == (0, 40)


async def check_that_it_makes_no_more_tasks_than_may_run(make: Make) -> None:
    fan_out, exchange = make(limit=3, timeout_s=None), Exchange()
    call = asyncio.create_task(fan_out.map(exchange, range(1000)))
    await settle()
    assert len(asyncio.all_tasks()) <= 2 + 3, "a task for each item"
    exchange.answers.set()
    assert len(await call) == 1000


async def check_that_the_first_error_ends_the_rest(make: Make) -> None:
    fan_out, exchange, others_run = make(limit=3, timeout_s=None), Exchange(), asyncio.Event()

    async def work(number: int) -> int:
        if number == 2:
            await others_run.wait()
            raise LookupError("no such instrument")
        return await exchange(number)

    call = asyncio.create_task(fan_out.map(work, range(100)))
    await settle()
    others_run.set()
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(call, 1)
    assert [str(it) for it in caught.value.exceptions] == ["no such instrument"]
    assert (exchange.asking, exchange.cancelled, exchange.asked) == (0, 2, [0, 1]), "the rest went on"


async def check_that_one_failure_touches_no_other(make: Make) -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        return 100 // number

    first, *rest = await make(limit=2, timeout_s=None).outcomes(work, range(4), None)
    assert isinstance(first, Failed)
    assert isinstance(first.error, ZeroDivisionError)
    assert rest == [100, 50, 33]


async def check_that_work_that_cancels_itself_is_not_lost(make: Make) -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        if number == 1:
            raise asyncio.CancelledError
        return number

    fan_out = make(limit=3, timeout_s=None)
    with pytest.raises(ExceptionGroup) as caught:
        await fan_out.map(work, range(3))
    assert isinstance(caught.value.exceptions[0], WorkCancelled)
    one, two, three = await fan_out.outcomes(work, range(3), None)
    assert (one, three) == (0, 2)
    assert isinstance(two, Failed)


async def check_that_a_deadline_keeps_what_is_done(make: Make) -> None:
    fan_out, exchange = make(limit=2, timeout_s=None), Exchange()

    async def work(number: int) -> int:
        return number if number < 2 else await exchange(number)

    results = await asyncio.wait_for(fan_out.outcomes(work, range(5), 0.01), 1)
    assert results[:2] == [0, 1]
    assert [type(it) for it in results[2:]] == [Failed] * 3
    assert (exchange.asking, fan_out.running) == (0, 0), "work went on after the deadline"


async def check_that_a_cancelled_call_cancels_and_waits(make: Make) -> None:
    for run in ("map", "outcomes"):
        fan_out, exchange = make(limit=2, timeout_s=60), Exchange()
        call = asyncio.create_task(getattr(fan_out, run)(exchange, range(5), *[None] * (run == "outcomes")))
        await settle()
        call.cancel()
        await asyncio.wait([call], timeout=1)
        assert call.cancelled(), f"{run} hides that it was cancelled"
        assert (exchange.asking, exchange.cancelled) == (0, 2), "work goes on for nobody"
        assert await asyncio.wait_for(fan_out.map(Exchange(open_=True), range(5)), 1), "its places are lost"


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(FanOut))


class LimitOfEachCall(FanOut):
    """Wrong: a semaphore that is made in the call limits that call."""

    async def map(self, work: Any, items: Any) -> Any:
        return await FanOut(limit=self._limit, timeout_s=self._timeout_s).map(work, items)


class TaskForEachItem(FanOut):
    """Wrong: the semaphore limits what runs, and a million tasks wait at it."""

    async def _in_workers(self, worker: Any, numbered: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for item in list(numbered):
                group.create_task(worker([item]))


class Gathers(FanOut):
    """Wrong: gather raises the first error and lets the others run on."""

    async def _in_workers(self, worker: Any, numbered: Any) -> None:
        firsts = [next(numbered) for _ in range(self._limit)]
        try:
            await asyncio.gather(*(worker([first]) for first in firsts))
        except Exception as error:
            raise ExceptionGroup("gather", [error]) from None


class TrustsTheGroup(FanOut):
    """Wrong: a task group is silent about a task that ends as cancelled."""

    async def _run(self, work: Any, item: Any) -> Any:
        async with self._places:
            result = await work(item)
            self.done += 1
            return result


class CancelsTheFan(FanOut):
    """Wrong: an error in one place ends all, and takes for its own what the deadline does."""

    async def outcomes(self, work: Any, items: Any, deadline_s: float | None) -> Any:
        try:
            async with asyncio.timeout(deadline_s):
                return await self.map(work, items)
        except (TimeoutError, ExceptionGroup) as error:
            return [Failed(error) for _ in items]  # type: ignore[arg-type]


class CatchesCancellations(FanOut):
    """Wrong: the caller has gone, and each piece is taken for one that cancelled itself."""

    async def outcomes(self, work: Any, items: Any, deadline_s: float | None) -> Any:
        try:
            return await super().outcomes(work, items, deadline_s)
        except asyncio.CancelledError as error:
            return [Failed(WorkCancelled(str(error)))]


class LosesThePlace(FanOut):
    """Wrong: a place is given back after the work, but not when the work fails or is cancelled."""

    async def _run(self, work: Any, item: Any) -> Any:
        await self._places.acquire()
        result = await work(item)
        self._places.release()
        return result


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (LimitOfEachCall, check_that_the_limit_holds_over_all_calls),
        (TaskForEachItem, check_that_it_makes_no_more_tasks_than_may_run),
        (Gathers, check_that_the_first_error_ends_the_rest),
        (CancelsTheFan, check_that_one_failure_touches_no_other),
        (TrustsTheGroup, check_that_work_that_cancels_itself_is_not_lost),
        (CancelsTheFan, check_that_a_deadline_keeps_what_is_done),
        (CatchesCancellations, check_that_a_cancelled_call_cancels_and_waits),
        (LosesThePlace, check_that_a_cancelled_call_cancels_and_waits),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Make, check: Callable[[Make], Awaitable[None]]) -> None:
    with pytest.raises((AssertionError, TimeoutError, KeyError, ValueError)):
        asyncio.run(check(twin))


@in_a_loop
async def test_a_piece_that_is_too_slow_ends_and_its_own_timeouts_are_not_ours() -> None:
    async def work(number: int) -> int:
        if number == 1:
            raise TimeoutError("of the driver")
        await asyncio.Event().wait()
        return number

    fan_out = FanOut(limit=2, timeout_s=0.01)
    outcomes = await fan_out.outcomes(work, range(2), None)
    assert [str(it.error) for it in outcomes if isinstance(it, Failed)] == ["", "of the driver"]
    assert (fan_out.failed, fan_out.timed_out) == (2, 1)


@in_a_loop
async def test_several_errors_at_once_are_all_raised() -> None:
    all_run = asyncio.Barrier(3)

    async def work(number: int) -> None:
        await all_run.wait()
        raise LookupError(number)

    with pytest.raises(ExceptionGroup) as caught:
        await FanOut(limit=3, timeout_s=None).map(work, range(3))
    assert sorted(it.args for it in caught.value.exceptions) == [(0,), (1,), (2,)]


@in_a_loop
async def test_items_may_come_lazily_and_their_error_is_heard() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("line 3 is no CSV")

    fan_out, exchange = FanOut(limit=1, timeout_s=None), Exchange(open_=True)
    with pytest.raises(ExceptionGroup) as caught:
        await fan_out.map(exchange, items())
    assert [str(it) for it in caught.value.exceptions] == ["line 3 is no CSV"]
    with pytest.raises(ExceptionGroup):
        await fan_out.outcomes(exchange, items(), None)
    assert fan_out.running == 0


def test_nothing_gives_nothing_and_no_limit_is_refused() -> None:
    fan_out = FanOut(limit=2, timeout_s=None)
    assert asyncio.run(fan_out.map(Exchange(), [])) == []
    assert asyncio.run(fan_out.outcomes(Exchange(), [], 1)) == []
    with pytest.raises(ValueError, match="at least 1"):
        FanOut(limit=0, timeout_s=None)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nothing_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        FanOut(limit=limit, timeout_s=None)


@in_a_loop
async def test_work_that_fans_out_under_its_own_limit_is_told_so_instead_of_waiting_for_itself() -> None:
    fan_out, exchange = FanOut(limit=2, timeout_s=None), Exchange(open_=True)

    async def straight(number: int) -> list[int]:
        return await fan_out.map(exchange, [number])

    async def in_a_task(number: int) -> list[Any]:
        return await asyncio.gather(fan_out.outcomes(exchange, [number], None))

    async def around_another(number: int) -> list[list[int]]:
        return await FanOut(limit=1, timeout_s=None).map(straight, [number])

    async with asyncio.timeout(5):
        for work in (straight, in_a_task, around_another):
            for outcome in await fan_out.outcomes(work, range(3), None):
                assert isinstance(outcome, Failed)
                error: Any = outcome.error
                assert isinstance(error if work is not around_another else error.exceptions[0], NestedCall)
        assert await fan_out.map(exchange, [1]) == [10]
    assert fan_out.running == 0


@in_a_loop
async def test_work_may_fan_out_under_another_limit_and_what_it_leaves_behind_under_its_own() -> None:
    outer, inner = FanOut(limit=1, timeout_s=None), FanOut(limit=1, timeout_s=None)
    exchange, left = Exchange(open_=True), list[asyncio.Task[Any]]()
    is_over = asyncio.Event()

    async def afterwards() -> list[int]:
        await is_over.wait()
        return await outer.map(exchange, [7])

    async def work(number: int) -> int:
        left.append(asyncio.create_task(afterwards()))
        return sum(await inner.map(exchange, [number, number]))

    async with asyncio.timeout(5):
        assert await outer.map(work, [1, 2]) == [20, 40]
        is_over.set()
        assert await asyncio.gather(*left) == [[70], [70]]


@in_a_loop
async def test_each_end_is_counted_as_what_it_was() -> None:
    fan_out = FanOut(limit=2, timeout_s=0)
    running: list[int] = []

    async def work(number: int) -> int:
        running.append(fan_out.running)
        if number == 1:
            raise LookupError
        if number == 2:
            await asyncio.sleep(0)
        if number == 3:
            raise asyncio.CancelledError
        return number

    outcomes = await fan_out.outcomes(work, range(5), None)
    kinds = [type(it.error).__name__ if isinstance(it, Failed) else it for it in outcomes]
    assert kinds == [0, "LookupError", "TimeoutError", "WorkCancelled", 4]
    assert (fan_out.done, fan_out.failed, fan_out.timed_out, fan_out.running) == (2, 3, 1, 0)
    assert min(running) >= 1
    assert max(running) <= 2


@in_a_loop
async def test_a_deadline_of_nothing_gives_what_needs_no_time() -> None:
    outcomes = await FanOut(limit=2, timeout_s=None).outcomes(Exchange(), range(3), 0)
    assert [type(it.error) for it in outcomes if isinstance(it, Failed)] == [TimeoutError] * 3


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[FanOut.__module__]).failed == 0
