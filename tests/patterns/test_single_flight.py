"""The work is done once, a caller may leave at any moment, and who comes later gets no old answer."""

import asyncio
import contextlib
import doctest
import functools
import sys
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any

import pytest

from reference_app.patterns.single_flight import RecursiveCall, SingleFlight, WorkCancelled


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


class Work:
    """Slow work that ends when the test says so."""

    def __init__(self) -> None:
        self.runs = self.running = self.most_at_once = self.cancelled = 0
        self.may_end = asyncio.Event()
        self.may_clean_up = asyncio.Event()
        self.may_clean_up.set()

    async def __call__(self) -> str:
        self.runs += 1
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        run = self.runs
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            await self.may_clean_up.wait()
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return f"answer {run}"


async def settle() -> None:
    """Let every task go on until all of them wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def callers(flights: SingleFlight[Any], work: Work, count: int) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(flights.do("AAPL", work)) for _ in range(count)]
    await settle()
    return tasks


async def finish(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)


@in_a_loop
async def test_callers_at_the_same_time_share_one_run() -> None:
    flights, work = SingleFlight[str](), Work()
    tasks = await callers(flights, work, 100)
    assert (flights.started, flights.joined, flights.in_flight) == (1, 99, 1)
    work.may_end.set()
    assert await finish(tasks) == ["answer 1"] * 100
    assert (work.runs, flights.in_flight) == (1, 0)


@in_a_loop
async def test_other_keys_do_not_wait() -> None:
    flights, slow, fast = SingleFlight[str](), Work(), Work()
    fast.may_end.set()
    waiting = await callers(flights, slow, 1)
    assert await asyncio.wait_for(flights.do("MSFT", fast), 10) == "answer 1"
    slow.may_end.set()
    await finish(waiting)


@in_a_loop
async def test_the_next_call_starts_anew() -> None:
    flights, work = SingleFlight[str](), Work()
    work.may_end.set()
    assert [await flights.do("AAPL", work) for _ in range(3)] == ["answer 1", "answer 2", "answer 3"]


@in_a_loop
async def test_an_error_reaches_every_caller_and_is_not_kept() -> None:
    flights, work = SingleFlight[str](), Work()

    async def failing() -> str:
        await work.may_end.wait()
        raise ConnectionError("the exchange is down")

    tasks = [asyncio.create_task(flights.do("AAPL", failing)) for _ in range(3)]
    await settle()
    work.may_end.set()
    errors = await finish(tasks)
    assert [str(error) for error in errors] == ["the exchange is down"] * 3
    assert await flights.do("AAPL", work) == "answer 1"


@in_a_loop
async def test_work_that_fails_before_its_first_await_is_an_error_too() -> None:
    flights = SingleFlight[str]()

    def broken() -> Awaitable[str]:
        raise ValueError("no such instrument")

    with pytest.raises(ValueError, match="no such instrument"):
        await flights.do("AAPL", broken)
    assert flights.in_flight == 0


# Each check is a rule, and a wrong twin further down (the pattern with one mistake) breaks it.


async def check_that_a_caller_who_leaves_takes_nobody_along(flights: SingleFlight[Any]) -> None:
    for leaver in range(3):
        work = Work()
        tasks = await callers(flights, work, 3)
        tasks[leaver].cancel()
        await settle()
        work.may_end.set()
        results = await finish(tasks)
        assert isinstance(results.pop(leaver), asyncio.CancelledError)
        assert results == ["answer 1"] * 2, "a caller who left changed the answer of those who stayed"
        assert work.cancelled == 0


async def check_that_work_nobody_waits_for_ends(flights: SingleFlight[Any]) -> None:
    work = Work()
    tasks = await callers(flights, work, 3)
    for task in tasks:
        task.cancel()
    await finish(tasks)
    assert (work.running, work.cancelled) == (0, 1), "work went on for nobody"
    assert (flights.in_flight, flights.abandoned) == (0, 1)


async def check_that_nobody_joins_work_that_is_being_cancelled(flights: SingleFlight[Any]) -> None:
    work = Work()
    work.may_clean_up.clear()
    [leaver] = await callers(flights, work, 1)
    leaver.cancel()
    await settle()  # the work is cleaning up
    [late] = await callers(flights, work, 1)
    assert work.runs == 2, "a caller joined work that was being cancelled"
    work.may_clean_up.set()
    work.may_end.set()
    assert await finish([late]) == ["answer 2"]


async def check_that_who_asks_after_a_change_gets_the_change(flights: SingleFlight[Any]) -> None:
    work = Work()
    before = await callers(flights, work, 1)
    flights.forget("AAPL")  # the value was changed
    after = await callers(flights, work, 2)
    work.may_end.set()
    assert await finish(before) == ["answer 1"]
    assert await finish(after) == ["answer 2"] * 2
    assert flights.in_flight == 0


async def check_that_an_old_flight_does_not_end_a_newer_one(flights: SingleFlight[Any]) -> None:
    old, new = Work(), Work()
    first = await callers(flights, old, 1)
    flights.forget("AAPL")
    second = await callers(flights, new, 1)
    old.may_end.set()
    await finish(first)
    third = await callers(flights, new, 1)
    new.may_end.set()
    assert await finish(second + third) == ["answer 1"] * 2
    assert new.runs == 1, "the end of an old flight made room for a second run of the new one"


async def check_that_cancelled_work_is_no_cancelled_caller(flights: SingleFlight[Any]) -> None:
    async def gives_up() -> str:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    with pytest.raises(WorkCancelled):
        await flights.do("AAPL", gives_up)


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[SingleFlight[Any]], Awaitable[None]]) -> None:
    asyncio.run(check(SingleFlight()))


class CallersAwaitTheTask(SingleFlight[Any]):
    """Wrong: a caller that is cancelled cancels what it awaits, which is everybody's."""

    async def do(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> Any:
        flight = self._flights.get(key) or self._start(key, work)
        return await flight.task


class WorkIsShielded(SingleFlight[Any]):
    """Wrong: this is the usual repair of the twin above; work goes on when nobody waits for it any more."""

    async def do(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> Any:
        flight = self._flights.get(key) or self._start(key, work)
        return await asyncio.shield(flight.task)


class DroppedAfterTheCleanUp(SingleFlight[Any]):
    """Wrong: the flight stays open to callers while it is being cancelled."""

    async def _abandon(self, key: Hashable, flight: Any) -> None:
        self.abandoned += 1
        flight.task.cancel()
        await asyncio.wait([flight.task])
        self._drop(key, flight)


class DropsByKey(SingleFlight[Any]):
    """Wrong: the end of a forgotten flight removes the one that took its place."""

    def _drop(self, key: Hashable, flight: Any) -> None:
        self._flights.pop(key, None)


class ForgetsNothing(SingleFlight[Any]):
    """Wrong: who asks after a change joins work that began before it."""

    def forget(self, key: Hashable) -> None:
        pass


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (CallersAwaitTheTask, check_that_a_caller_who_leaves_takes_nobody_along),
        (CallersAwaitTheTask, check_that_cancelled_work_is_no_cancelled_caller),
        (WorkIsShielded, check_that_work_nobody_waits_for_ends),
        (DroppedAfterTheCleanUp, check_that_nobody_joins_work_that_is_being_cancelled),
        (DropsByKey, check_that_an_old_flight_does_not_end_a_newer_one),
        (ForgetsNothing, check_that_who_asks_after_a_change_gets_the_change),
    ],
)
def test_a_wrong_twin_is_rejected(twin: type[SingleFlight[Any]], check: Any) -> None:
    with pytest.raises((AssertionError, asyncio.CancelledError)):
        asyncio.run(check(twin()))


@in_a_loop
async def test_the_last_to_leave_waits_for_the_clean_up_and_a_second_cancellation_ends_the_wait() -> None:
    flights, work = SingleFlight[str](), Work()
    work.may_clean_up.clear()
    [leaver] = await callers(flights, work, 1)
    leaver.cancel()
    await settle()
    assert not leaver.done()
    leaver.cancel()
    await settle()
    assert leaver.cancelled()
    assert flights.in_flight == 1
    work.may_clean_up.set()
    await settle()
    assert flights.in_flight == 0


@in_a_loop
async def test_a_timeout_around_the_call_stays_a_timeout() -> None:
    flights, work = SingleFlight[str](), Work()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flights.do("AAPL", work), 0.01)
    assert work.cancelled == 1


@in_a_loop
async def test_work_that_asks_for_its_own_key_is_told_so() -> None:
    flights = SingleFlight[str]()

    async def itself() -> str:
        return await flights.do("AAPL", itself)

    with pytest.raises(RecursiveCall):
        await asyncio.wait_for(flights.do("AAPL", itself), 10)


def test_one_object_serves_several_loops_one_after_the_other() -> None:
    flights = SingleFlight[str]()

    async def main() -> str:
        work = Work()
        work.may_end.set()
        return await flights.do("AAPL", work)

    assert [asyncio.run(main()) for _ in range(2)] == ["answer 1"] * 2


@in_a_loop
async def test_work_that_asks_for_its_own_key_in_a_task_or_through_other_work_is_told_so() -> None:
    flights, others = SingleFlight[Any](), SingleFlight[Any]()

    async def in_a_task() -> Any:
        return await asyncio.gather(flights.do("task", in_a_task))

    async def parent() -> Any:
        return await flights.do("child", child)

    async def child() -> Any:
        return await flights.do("parent", parent)

    async def here() -> Any:
        return await others.do("there", there)

    async def there() -> Any:
        return await flights.do("here", here)

    for key, work in (("task", in_a_task), ("parent", parent), ("here", here)):
        with pytest.raises(RecursiveCall):
            await asyncio.wait_for(flights.do(key, work), 10)
    assert (flights.in_flight, others.in_flight) == (0, 0)


@in_a_loop
async def test_two_flights_that_began_apart_and_come_to_need_each_other_are_told_so() -> None:
    flights, both_are_up = SingleFlight[Any](), asyncio.Barrier(2)

    async def left() -> Any:
        await both_are_up.wait()
        return await flights.do("right", right)

    async def right() -> Any:
        await both_are_up.wait()
        return await flights.do("left", left)

    outcomes = await asyncio.wait_for(
        asyncio.gather(flights.do("left", left), flights.do("right", right), return_exceptions=True), 10
    )
    assert [type(it) for it in outcomes] == [RecursiveCall, RecursiveCall]


@in_a_loop
async def test_work_may_ask_for_other_keys_and_what_it_leaves_behind_for_its_own() -> None:
    flights, is_over = SingleFlight[Any](), asyncio.Event()
    left: list[asyncio.Task[Any]] = []

    async def leaf() -> int:
        await asyncio.sleep(0)
        return 1

    async def afterwards() -> int:
        await is_over.wait()
        return int(await flights.do("root", leaf))

    async def root() -> int:
        left.append(asyncio.create_task(afterwards()))
        both = [flights.do("leaf", leaf), flights.do("leaf", leaf), flights.do("other leaf", leaf)]
        return sum(await asyncio.gather(*both))

    async with asyncio.timeout(10):
        assert await asyncio.gather(flights.do("root", root), flights.do("leaf", leaf)) == [3, 1]
        assert await flights.do("leaf", leaf) == 1, "a flight that is over is needed by nobody"
        is_over.set()
        assert await left[0] == 1
    assert flights.in_flight == 0


@in_a_loop
async def test_work_that_has_given_up_waiting_may_be_waited_for() -> None:
    flights, gave_up, may_end = SingleFlight[Any](), asyncio.Event(), asyncio.Event()

    async def impatient() -> str:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(flights.do("slow", slow), 0.01)
        gave_up.set()
        await may_end.wait()
        return "done"

    async def slow() -> Any:
        await gave_up.wait()
        asking.set()
        return await flights.do("impatient", impatient)

    asking = asyncio.Event()
    holder = asyncio.create_task(flights.do("slow", slow))
    caller = asyncio.create_task(flights.do("impatient", impatient))
    await asyncio.wait_for(asking.wait(), 5)
    await settle()
    may_end.set()
    assert await asyncio.wait_for(asyncio.gather(holder, caller), 5) == ["done", "done"]


@in_a_loop
async def test_a_flight_that_was_left_is_needed_no_more() -> None:
    flights, never = SingleFlight[Any](), asyncio.Event()

    async def impatient() -> str:
        try:
            await asyncio.wait_for(flights.do("slow", slow), 0.01)
        except TimeoutError:
            return "gave up"
        return "waited"

    async def slow() -> Any:
        await never.wait()

    async def asks_back() -> Any:
        return await flights.do("impatient", impatient)

    holder = asyncio.create_task(flights.do("slow", slow))
    await settle()
    assert await flights.do("impatient", impatient) == "gave up"
    assert await flights.do("asks back", asks_back) == "gave up"
    holder.cancel()
    await asyncio.wait([holder])


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[SingleFlight.__module__]).failed == 0
