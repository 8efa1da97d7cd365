"""It opens for failures, lets exactly its trials through, and believes nobody from another era."""

import asyncio
import doctest
import functools
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


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[CircuitBreaker.__module__]).failed == 0
