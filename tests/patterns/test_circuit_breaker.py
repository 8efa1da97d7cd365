"""It opens for failures, lets exactly its trials through, and believes nobody from another era."""

import asyncio
import doctest
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from reference_app.patterns.circuit_breaker import CircuitBreaker, CircuitOpen

Make = Callable[..., CircuitBreaker]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


class Exchange:
    """A dependency that answers, fails or hangs as told, and seconds that pass when told."""

    def __init__(self, make: Make, **options: Any) -> None:
        self.now_s = 1000.0
        settings: dict[str, Any] = {"timeout_s": None, "open_s": 30, "min_calls": 4, "window_s": 60}
        self.breaker = make(clock=lambda: self.now_s, **settings | options)
        self.reached = 0

    async def answers(self) -> str:
        self.reached += 1
        return "131.12"

    async def fails(self) -> str:
        self.reached += 1
        raise ConnectionError("refused")

    async def fail(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises(ConnectionError):
                await self.breaker.call(self.fails)

    async def succeed(self, times: int) -> None:
        for _ in range(times):
            assert await self.breaker.call(self.answers) == "131.12"

    async def is_refused(self) -> bool:
        try:
            await self.breaker.call(self.answers)
        except CircuitOpen:
            return True
        return False

    def start(self) -> "Slow":
        return Slow(self)


class Slow:
    """A call that ends when the test says how."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(exchange.breaker.call(self._work))

    async def _work(self) -> str:
        self.exchange.reached += 1
        return await asyncio.shield(self.outcome)

    async def end(self, error: Exception | None = None) -> None:
        if error is None:
            self.outcome.set_result("131.12")
        else:
            self.outcome.set_exception(error)
        await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.exception()

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def settle() -> None:
    """Let every task go on until all of them wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def check_that_it_opens_for_a_share_of_failures_and_not_for_few_calls(make: Make) -> None:
    exchange = Exchange(make)
    await exchange.fail(3)
    assert exchange.breaker.state == "closed", "three calls are too few to judge"
    await exchange.succeed(4)
    assert exchange.breaker.state == "closed"
    await exchange.fail(1)
    assert exchange.breaker.state == "open"
    reached = exchange.reached
    with pytest.raises(CircuitOpen) as refusal:
        await exchange.breaker.call(exchange.answers)
    assert refusal.value.retry_after_s == 30
    assert exchange.reached == reached
    assert (exchange.breaker.failures, exchange.breaker.rejected, exchange.breaker.openings) == (4, 1, 1)


async def check_that_old_failures_do_not_count(make: Make) -> None:
    exchange = Exchange(make)
    await exchange.fail(3)
    exchange.now_s += 60
    await exchange.fail(3)
    assert exchange.breaker.state == "closed", "failures from a minute ago opened it"


async def check_that_exactly_the_trials_get_through(make: Make) -> None:
    exchange = Exchange(make, trials=2)
    await exchange.fail(4)
    exchange.now_s += 30
    trials = [exchange.start() for _ in range(5)]
    await settle()
    assert exchange.reached == 4 + 2, "more calls than trials reached what may be down still"
    running = [trial for trial in trials if not trial.task.done()]
    for trial in trials:
        if trial not in running:
            assert isinstance(trial.task.exception(), CircuitOpen)
    await running[0].end()
    assert exchange.breaker.state == "half_open"
    await running[1].end()
    assert exchange.breaker.state == "closed"
    await exchange.succeed(3)


async def check_that_a_failed_trial_opens_it_for_the_whole_time(make: Make) -> None:
    exchange = Exchange(make)
    await exchange.fail(4)
    exchange.now_s += 30
    await exchange.fail(1)
    exchange.now_s += 29.9
    assert await exchange.is_refused()
    exchange.now_s += 0.1
    assert not await exchange.is_refused()


async def check_that_a_cancelled_trial_gives_its_place_back(make: Make) -> None:
    exchange = Exchange(make)
    await exchange.fail(4)
    exchange.now_s += 30
    trial = exchange.start()
    await settle()
    await trial.cancel()
    assert exchange.breaker.state == "half_open", "a cancelled call told something about the dependency"
    assert not await exchange.is_refused(), "a cancelled trial keeps the circuit open for ever"
    assert exchange.breaker.state == "closed"


async def check_that_a_cancelled_call_is_no_failure(make: Make) -> None:
    exchange = Exchange(make)
    for _ in range(10):
        call = exchange.start()
        await settle()
        await call.cancel()
    assert exchange.breaker.state == "closed"
    assert exchange.breaker.failures == 0


async def check_that_a_success_from_before_the_opening_does_not_close_it(make: Make) -> None:
    exchange = Exchange(make)
    old = exchange.start()
    await settle()
    await exchange.fail(4)
    exchange.now_s += 30
    trial = exchange.start()
    await settle()
    await old.end()
    assert exchange.breaker.state == "half_open", "a call from before the opening closed it"
    await trial.end(ConnectionError("still down"))
    assert exchange.breaker.state == "open"


async def check_that_a_failure_from_before_the_opening_does_not_prolong_it(make: Make) -> None:
    exchange = Exchange(make)
    old, older = exchange.start(), exchange.start()
    await settle()
    await exchange.fail(4)
    exchange.now_s += 20
    await old.end(ConnectionError("refused"))
    exchange.now_s += 10
    trial = exchange.start()
    await settle()
    await older.end(ConnectionError("refused"))
    assert exchange.breaker.state == "half_open", "a call from before the opening opened it again"
    await trial.end()
    assert (exchange.breaker.state, exchange.breaker.openings) == ("closed", 1)


async def check_that_an_answer_that_is_an_error_is_no_failure(make: Make) -> None:
    exchange = Exchange(make, is_failure=lambda error: not isinstance(error, LookupError))

    async def not_found() -> str:
        raise LookupError("no such instrument")

    for _ in range(10):
        with pytest.raises(LookupError):
            await exchange.breaker.call(not_found)
    assert exchange.breaker.state == "closed"


async def check_that_a_hang_is_a_failure(make: Make) -> None:
    exchange = Exchange(make, timeout_s=0.001)
    for _ in range(4):
        with pytest.raises(TimeoutError):
            await exchange.start().task
    assert exchange.breaker.state == "open"


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(CircuitBreaker))


class LetsAllTry(CircuitBreaker):
    """Wrong: half open means open to all."""

    def _admit(self) -> int:
        self._trials_left = 1_000_000
        return super()._admit()

    def _change(self, state: Any) -> None:
        super()._change(state)
        self._trials_left = 1_000_000


class KeepsTheTrial(CircuitBreaker):
    """Wrong: a trial that is cancelled never gives its place back."""

    def _record(self, era: int, failed: bool | None) -> None:
        if failed is not None:
            super()._record(era, failed)


class CancellationIsAFailure(CircuitBreaker):
    """Wrong: `except BaseException`."""

    def _record(self, era: int, failed: bool | None) -> None:
        super()._record(era, failed is not False)


class KnowsNoEras(CircuitBreaker):
    """Wrong: whoever ends decides, whenever it began."""

    def _record(self, era: int, failed: bool | None) -> None:
        if self.state != "open":
            super()._record(self._era, failed)


class CountsForEver(CircuitBreaker):
    """Wrong: a window of calls alone; at night it spans hours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.window_s = 1e9


class CountsInARow(CircuitBreaker):
    """Wrong: every second call may fail for ever."""

    def _record(self, era: int, failed: bool | None) -> None:
        if failed is False:
            self._results.clear()
        super()._record(era, failed)


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (LetsAllTry, check_that_exactly_the_trials_get_through),
        (KeepsTheTrial, check_that_a_cancelled_trial_gives_its_place_back),
        (CancellationIsAFailure, check_that_a_cancelled_call_is_no_failure),
        (CancellationIsAFailure, check_that_a_cancelled_trial_gives_its_place_back),
        (KnowsNoEras, check_that_a_success_from_before_the_opening_does_not_close_it),
        (KnowsNoEras, check_that_a_failure_from_before_the_opening_does_not_prolong_it),
        (CountsForEver, check_that_old_failures_do_not_count),
        (CountsInARow, check_that_it_opens_for_a_share_of_failures_and_not_for_few_calls),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Any, check: Any) -> None:
    with pytest.raises((AssertionError, CircuitOpen)):
        asyncio.run(check(twin))


@in_a_loop
async def test_memory_is_bounded_by_the_window() -> None:
    exchange = Exchange(CircuitBreaker, window_calls=50)
    await exchange.succeed(1_000)
    assert len(exchange.breaker._results) == 50


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(CircuitBreaker).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {
        "open_s": 30.0,
        "failure_ratio": 0.5,
        "min_calls": 10,
        "window_calls": 100,
        "window_s": 60.0,
        "trials": 1,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"window_calls": 0},
        {"trials": 0},
        {"window_s": 0},
        {"window_s": -1},
        {"window_s": float("nan")},
        {"failure_ratio": -0.1},
        {"failure_ratio": 1.1},
        {"failure_ratio": float("nan")},
    ],
    ids=str,
)
def test_numbers_without_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of its range"):
        CircuitBreaker(timeout_s=None, **options)


@pytest.mark.parametrize(
    ("options", "failures"),
    [
        ({"min_calls": 0}, 1),
        ({"min_calls": 1, "failure_ratio": 0}, 1),
        ({"min_calls": 3, "failure_ratio": 1}, 3),
        ({"min_calls": 100, "window_calls": 1}, 1),
        ({"window_s": 1e-9, "min_calls": 1}, 1),
        ({"window_s": float("inf"), "min_calls": 2}, 2),
    ],
    ids=str,
)
@in_a_loop
async def test_it_opens_at_the_edges_of_its_options(options: dict[str, Any], failures: int) -> None:
    exchange = Exchange(CircuitBreaker, **options)
    await exchange.fail(failures - 1)
    assert exchange.breaker.state == "closed"
    await exchange.fail(1)
    assert exchange.breaker.state == "open"


@in_a_loop
async def test_a_clock_that_moves_between_two_looks_empties_the_window_and_breaks_nothing() -> None:
    seconds = iter(range(1000))
    breaker = CircuitBreaker(timeout_s=None, window_s=0.5, min_calls=1, clock=lambda: next(seconds))
    for _ in range(3):
        with pytest.raises(LookupError):
            await breaker.call(fails)
    assert (breaker.state, breaker.failures) == ("closed", 3)


async def fails() -> None:
    raise LookupError


@in_a_loop
async def test_open_for_no_time_means_a_trial_at_once() -> None:
    exchange = Exchange(CircuitBreaker, open_s=0, min_calls=1)
    await exchange.fail(1)
    await exchange.succeed(1)
    assert exchange.breaker.state == "closed"


@in_a_loop
async def test_what_is_counted_is_what_was_called() -> None:
    exchange = Exchange(CircuitBreaker, min_calls=2)
    await exchange.succeed(1)
    await exchange.fail(1)
    assert (exchange.breaker.state, exchange.breaker.calls) == ("open", 2)
    exchange.now_s += 10
    with pytest.raises(CircuitOpen, match=r"for another 20\.0 s") as refusal:
        await exchange.breaker.call(exchange.answers)
    assert refusal.value.retry_after_s == 20
    exchange.now_s += 19.5
    assert await exchange.is_refused()
    exchange.now_s += 0.5
    await exchange.succeed(1)
    assert (exchange.breaker.calls, exchange.breaker.rejected, exchange.breaker.failures) == (3, 2, 1)
    assert exchange.breaker.state == "closed"
    await exchange.fail(1)
    assert exchange.breaker.state == "closed", "what was before the opening still counts"


@in_a_loop
async def test_who_is_refused_beside_a_trial_may_come_at_once() -> None:
    exchange = Exchange(CircuitBreaker, min_calls=1)
    await exchange.fail(1)
    exchange.now_s += 100
    trial = exchange.start()
    await settle()
    with pytest.raises(CircuitOpen) as refusal:
        await exchange.breaker.call(exchange.answers)
    assert refusal.value.retry_after_s == 0
    await trial.end()


@in_a_loop
async def test_the_share_decides_and_not_the_number() -> None:
    exchange = Exchange(CircuitBreaker, min_calls=4, failure_ratio=0.5)
    await exchange.succeed(5)
    await exchange.fail(4)
    assert exchange.breaker.state == "closed", "four of nine are less than half"
    await exchange.fail(1)
    assert exchange.breaker.state == "open"


@in_a_loop
async def test_a_driver_that_cancels_itself_has_failed() -> None:
    async def torn_down() -> None:
        raise asyncio.CancelledError

    breaker = CircuitBreaker(timeout_s=None, min_calls=2)
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await breaker.call(torn_down)
    assert (breaker.state, breaker.failures) == ("open", 2)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[CircuitBreaker.__module__]).failed == 0
