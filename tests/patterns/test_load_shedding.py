"""So many at once, so many waiting, so long: and a place is never lost, whoever gives up when."""

import asyncio
import doctest
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from reference_app.patterns.load_shedding import LoadShedder, Overloaded

Make = Callable[..., LoadShedder]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


async def settle() -> None:
    """Let every task go on until all of them wait."""
    for _ in range(10):
        await asyncio.sleep(0)


class Requests:
    """Requests that hold a place until they are let go."""

    def __init__(self, shedder: LoadShedder) -> None:
        self.shedder = shedder
        self.inside: list[str] = []
        self.most_inside = 0
        self.shed: list[str] = []
        self.may_leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, *names: str) -> None:
        for name in names:
            self.may_leave[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._run(name))
            await settle()

    async def _run(self, name: str) -> None:
        try:
            async with self.shedder:
                self.inside.append(name)
                self.most_inside = max(self.most_inside, len(self.inside))
                try:
                    await self.may_leave[name].wait()
                finally:
                    self.inside.remove(name)
        except Overloaded:
            self.shed.append(name)

    async def end(self, *names: str) -> None:
        for name in names:
            self.may_leave[name].set()
            await settle()

    async def cancel(self, *names: str) -> None:
        for name in names:
            self.tasks[name].cancel()
        await settle()


class Clock:
    """Moves the time of the running loop, which timers and the shedder read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        loop = asyncio.get_running_loop()
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self.ahead_s)

    async def move(self, seconds: float) -> None:
        self.ahead_s += seconds
        await settle()


async def check_that_no_more_run_than_allowed(make: Make, clock: Clock) -> None:
    requests = Requests(make(max_running=2, max_waiting=3, max_wait_s=60))
    await requests.start(*"ABCDEF")
    assert requests.inside == ["A", "B"], "more run than allowed"
    assert requests.shed == ["F"], "more wait than allowed"
    shedder = requests.shedder
    assert (shedder.running, shedder.waiting, shedder.shed_at_once) == (2, 3, 1)
    await requests.end(*"ABCDE")
    assert requests.most_inside == 2
    assert (shedder.running, shedder.waiting, shedder.admitted) == (0, 0, 5)


async def check_that_a_burst_is_served_in_order_of_arrival(make: Make, clock: Clock) -> None:
    requests = Requests(make(max_running=1, max_waiting=9, max_wait_s=60))
    await requests.start(*"ABC")
    await requests.end("A")
    await requests.start("D")  # nobody overtakes
    assert requests.inside == ["B"]
    await requests.end(*"BCD")
    assert requests.shed == []


async def check_that_who_waits_too_long_is_told(make: Make, clock: Clock) -> None:
    requests = Requests(make(max_running=1, max_waiting=9, max_wait_s=5))
    await requests.start(*"AB")
    await clock.move(4.9)
    assert requests.shed == []
    await clock.move(0.2)
    assert requests.shed == ["B"], "it waits longer than it may"
    assert (requests.shedder.waiting, requests.shedder.shed_late) == (0, 1)
    await requests.end("A")
    assert requests.shedder.running == 0


async def check_that_a_queue_that_never_empties_sheds_early_and_serves_the_newest(
    make: Make, clock: Clock
) -> None:
    requests = Requests(make(max_running=1, max_waiting=9, max_wait_s=5, overload_wait_s=1))
    await requests.start(*"AB")
    await clock.move(4)
    await requests.start("C")  # the queue has not been empty since B
    await clock.move(1.5)
    assert requests.shed == ["B"]
    await requests.start(*"DE")  # 5.5 s: overload
    await requests.end("A")
    assert requests.inside == ["E"], "under overload the newest goes first"
    await clock.move(1.1)
    assert requests.shed == ["B", "D"], "under overload nobody waits for longer than a moment"
    await requests.end("E")
    assert requests.inside == ["C"]
    await requests.end("C")
    await requests.start(*"FGH")  # the queue was empty: a burst again
    await requests.end("F")
    assert requests.inside == ["G"]
    await requests.end(*"GH")


async def check_that_a_place_is_not_lost_with_the_one_who_had_it(make: Make, clock: Clock) -> None:
    """B is cancelled in the very moment in which the place becomes its own: C must get it."""
    requests = Requests(make(max_running=1, max_waiting=9, max_wait_s=60))
    await requests.start(*"ABC")
    requests.may_leave["A"].set()
    await asyncio.sleep(0)  # A leaves, B is woken and has not run yet
    await requests.cancel("B")
    assert requests.inside == ["C"], "the place of a cancelled request was lost"
    await requests.end("C")
    assert requests.shedder.running == 0


async def check_that_a_place_is_not_given_to_the_dead(make: Make, clock: Clock) -> None:
    """B is cancelled in the very moment before the place becomes free."""
    requests = Requests(make(max_running=1, max_waiting=9, max_wait_s=60))
    await requests.start(*"ABC")
    requests.may_leave["A"].set()
    requests.tasks["B"].cancel()  # A leaves before B has taken notice
    await settle()
    assert requests.inside == ["C"], "the place went to a cancelled request"
    await requests.end("C")
    assert (requests.shedder.running, requests.shedder.waiting) == (0, 0)


async def check_that_who_is_cancelled_leaves_the_queue(make: Make, clock: Clock) -> None:
    requests = Requests(make(max_running=1, max_waiting=2, max_wait_s=60))
    await requests.start(*"ABC")
    await requests.cancel(*"BC")
    assert requests.shedder.waiting == 0
    await requests.start(*"DE")
    assert requests.shed == [], "the queue is full of cancelled requests"
    await requests.end(*"ADE")
    assert requests.shedder.running == 0


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]
Check = Callable[[Make, Clock], Awaitable[None]]


@in_a_loop
async def run(check: Check, make: Make) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        await check(make, Clock(monkeypatch))


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Check) -> None:
    run(check, LoadShedder)


class LosesThePlace(LoadShedder):
    """Wrong: cancelled after its turn had come, it takes the place along."""

    async def _wait(self) -> bool:
        self._queued_since_s = asyncio.get_running_loop().time()
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        timer = asyncio.get_running_loop().call_later(self.max_wait_s, self._give_up, turn)
        try:
            return await turn
        finally:
            timer.cancel()
            if turn in self._queue:
                self._queue.remove(turn)


class WakesTheDead(LoadShedder):
    """Wrong: the place goes to the first in the queue, who may be cancelled."""

    def _hand_over(self) -> None:
        if self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(True)
        else:
            self.running -= 1


class LetsThemOvertake(LoadShedder):
    """Wrong: the place is free for a moment, and who comes then is faster than who waits."""

    def _hand_over(self) -> None:
        self.running -= 1

        def wake() -> None:
            if self._queue and self.running < self.max_running:
                self.running += 1
                LoadShedder._hand_over(self)

        asyncio.get_running_loop().call_later(0.001, wake)


class WaitsForEver(LoadShedder):
    """Wrong: a semaphore; the queue has no end and no time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.max_waiting, self.max_wait_s = 1_000_000, 1e6


class AlwaysInOrder(LoadShedder):
    """Wrong under overload: everybody waits as long as possible."""

    def _is_overloaded(self) -> bool:
        return False


class KeepsTheCancelled(LoadShedder):
    """Wrong: cancelled requests stay in the queue until their turn comes."""

    async def _wait(self) -> bool:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        return await turn


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (LosesThePlace, check_that_a_place_is_not_lost_with_the_one_who_had_it),
        (WakesTheDead, check_that_a_place_is_not_given_to_the_dead),
        (LetsThemOvertake, check_that_a_burst_is_served_in_order_of_arrival),
        (WaitsForEver, check_that_no_more_run_than_allowed),
        (WaitsForEver, check_that_who_waits_too_long_is_told),
        (AlwaysInOrder, check_that_a_queue_that_never_empties_sheds_early_and_serves_the_newest),
        (KeepsTheCancelled, check_that_who_is_cancelled_leaves_the_queue),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Any, check: Check) -> None:
    with pytest.raises(AssertionError):
        run(check, twin)


@in_a_loop
async def test_an_error_inside_frees_the_place() -> None:
    shedder = LoadShedder(max_running=1, max_waiting=0)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            async with shedder:
                raise RuntimeError("the work failed")
    assert (shedder.running, shedder.admitted) == (0, 3)


@in_a_loop
async def test_the_refusal_says_when_to_come_back() -> None:
    shedder = LoadShedder(max_running=0, max_waiting=0, retry_after_s=7)
    with pytest.raises(Overloaded) as refusal:
        async with shedder:
            pass
    assert refusal.value.retry_after_s == 7


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(LoadShedder).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"max_wait_s": 0.5, "overload_wait_s": 0.05, "retry_after_s": 1.0}


@in_a_loop
async def test_with_no_time_to_wait_a_full_service_sheds_at_once() -> None:
    shedder = LoadShedder(max_running=1, max_waiting=5, max_wait_s=0)
    async with shedder:
        with pytest.raises(Overloaded, match="in vain") as refusal:
            async with asyncio.timeout(5), shedder:
                pass
        assert (shedder.waiting, shedder.shed_late, refusal.value.retry_after_s) == (0, 1, 1.0)
    assert shedder.running == 0


def test_who_waited_and_got_a_place_leaves_no_timer() -> None:
    async def check(make: Make, clock: Clock) -> None:
        requests = Requests(make(max_running=1, max_waiting=1, max_wait_s=5))
        loop: Any = asyncio.get_running_loop()
        before = len([it for it in loop._scheduled if not it.cancelled()])
        await requests.start("A", "B")
        await requests.end("A")
        assert requests.inside == ["B"]
        assert len([it for it in loop._scheduled if not it.cancelled()]) == before
        await requests.end("B")

    run(check, LoadShedder)


@in_a_loop
async def test_overload_begins_after_the_longest_wait_and_not_at_it() -> None:
    shedder, now_s = LoadShedder(max_running=1, max_waiting=1, max_wait_s=10), 100.0
    shedder._queue.append(asyncio.get_running_loop().create_future())
    shedder._queued_since_s = now_s
    with pytest.MonkeyPatch.context() as patch:
        for ahead_s, is_overloaded in ((10, False), (10.5, True)):
            patch.setattr(asyncio.get_running_loop(), "time", lambda ahead_s=ahead_s: now_s + ahead_s)
            assert shedder._is_overloaded() is is_overloaded


def test_a_queue_that_is_young_or_empty_is_no_overload() -> None:
    async def check(make: Make, clock: Clock) -> None:
        shedder = make(max_running=1, max_waiting=9, max_wait_s=10, overload_wait_s=1)
        requests = Requests(shedder)
        await clock.move(1000)
        assert not shedder._is_overloaded(), "nobody waits"
        await requests.start("A", "B")
        await clock.move(6)
        await requests.start("C")  # the queue is six seconds old
        await clock.move(3)
        await requests.end("A")
        assert requests.inside == ["B"], "not yet overload: first come, first served"
        await clock.move(6)
        assert requests.shed == [], "C may wait for ten seconds, and has waited for nine"
        await requests.end("B", "C")

    run(check, LoadShedder)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[LoadShedder.__module__]).failed == 0
