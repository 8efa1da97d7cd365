"""One at a time a key, all keys or none, and nothing left behind by those who gave up."""

import asyncio
import doctest
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from reference_app.patterns.keyed_lock import AlreadyHeld, KeyedLock, NotAcquired

Make = Callable[..., KeyedLock[str]]


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


class Visits:
    """Tasks that hold keys until they are let go, and a record of who was in."""

    def __init__(self, locks: KeyedLock[str]) -> None:
        self.locks = locks
        self.inside: list[str] = []
        self.order: list[str] = []
        self.may_leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, *keys: str) -> asyncio.Task[None]:
        self.may_leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._visit(name, *keys))
        await settle()
        return self.tasks[name]

    async def _visit(self, name: str, *keys: str) -> None:
        async with self.locks(*keys):
            self.inside.append(name)
            self.order.append(name)
            try:
                await self.may_leave[name].wait()
            finally:
                self.inside.remove(name)

    async def end(self, *names: str) -> None:
        for name in names:
            self.may_leave[name].set()
            await settle()


async def check_that_a_key_is_held_by_one_in_order_of_arrival(make: Make) -> None:
    visits = Visits(make(timeout_s=60))
    for name in "ABCD":
        await visits.start(name, "AAPL")
        assert visits.inside == ["A"], "two are in at once"
    for name in "ABCD":
        assert visits.inside == [name]
        await visits.end(name)
    assert visits.order == ["A", "B", "C", "D"]
    assert (visits.locks.acquired, visits.locks.contended) == (4, 3)


async def check_that_other_keys_do_not_wait(make: Make) -> None:
    visits = Visits(make(timeout_s=60))
    await visits.start("A", "AAPL")
    await visits.start("B", "MSFT")
    assert visits.inside == ["A", "B"]
    await visits.end("A", "B")


async def check_that_a_late_comer_meets_the_lock_that_is_waited_for(make: Make) -> None:
    visits = Visits(make(timeout_s=60))
    await visits.start("A", "AAPL")
    await visits.start("B", "AAPL")
    await visits.end("A")
    await visits.start("C", "AAPL")
    assert visits.inside == ["B"], "a second lock was made for a key that is held"
    await visits.end("B", "C")


async def check_that_opposite_orders_do_not_wait_for_each_other(make: Make) -> None:
    locks = make(timeout_s=60)
    visits = Visits(locks)
    await visits.start("X", "alice")
    await visits.start("Y", "bob")
    await visits.start("A", "alice", "bob")
    await visits.start("B", "bob", "alice")
    await visits.end("X", "Y", "A", "B")
    assert visits.order == ["X", "Y", "A", "B"], "two tasks wait for each other"
    assert len(locks) == 0


async def check_that_who_gives_up_holds_nothing(make: Make) -> None:
    locks = make(timeout_s=60)
    visits = Visits(locks)
    await visits.start("first", "bob")
    waiting = await visits.start("A", "alice", "bob")
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    await visits.start("B", "alice")
    assert visits.inside == ["first", "B"], "a task that was cancelled still holds a key"
    await visits.end("first", "B")
    assert len(locks) == 0, "a lock was left"


async def check_that_a_turn_is_not_lost_with_the_one_who_had_it(make: Make) -> None:
    """B is cancelled in the very moment in which the lock becomes its own: C must get it."""
    locks = make(timeout_s=60)
    visits = Visits(locks)
    for name in "ABC":
        await visits.start(name, "AAPL")
    visits.may_leave["A"].set()
    await asyncio.sleep(0)  # A leaves, B is woken and has not run yet
    visits.tasks["B"].cancel()
    await settle()
    assert visits.inside == ["C"], "the turn of a cancelled task was lost"
    await visits.end("C")
    assert len(locks) == 0


async def check_that_a_wait_ends_in_time(make: Make) -> None:
    locks = make(timeout_s=0.01)
    visits = Visits(locks)
    await visits.start("A", "AAPL")
    with pytest.raises(NotAcquired, match=r"within 0\.01 s"):
        async with asyncio.timeout(10), locks("AAPL"):
            pass
    assert (locks.timeouts, len(locks)) == (1, 1)
    await visits.end("A")
    assert len(locks) == 0


async def check_that_the_queue_is_bounded(make: Make) -> None:
    locks = make(timeout_s=60, max_waiting=2)
    visits = Visits(locks)
    for name in "ABC":
        await visits.start(name, "AAPL")
    refused = await visits.start("D", "AAPL")
    assert isinstance(refused.exception() if refused.done() else None, NotAcquired), (
        "the queue is not bounded"
    )
    assert locks.refused == 1
    await visits.end("A", "B", "C")
    assert visits.order == ["A", "B", "C"]


async def check_that_a_task_is_told_that_it_would_wait_for_itself(make: Make) -> None:
    locks = make(timeout_s=60)

    async def twice() -> None:
        async with locks("AAPL", "MSFT"), locks("MSFT"):
            pass

    task = asyncio.create_task(twice())
    await settle()
    assert isinstance(task.exception() if task.done() else None, AlreadyHeld), "a task waits for itself"
    assert len(locks) == 0


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(KeyedLock))


class DropsItAtRelease(KeyedLock[str]):
    """Wrong: the lock goes with its holder, although others wait for it."""

    def _leave(self, key: str, slot: Any) -> None:
        slot.users -= 1
        self._slots.pop(key, None)

    def _release(self, keys: Any) -> None:
        for key in keys:
            if key in self._slots:
                super()._release([key])


class DropsItWhenUnlocked(KeyedLock[str]):
    """Wrong: a lock that has been handed to the next one is unlocked until that one runs."""

    def _leave(self, key: str, slot: Any) -> None:
        slot.users -= 1
        if slot.lock is None or not slot.lock.locked():
            self._slots.pop(key, None)

    def _release(self, keys: Any) -> None:
        for key in keys:
            if key in self._slots:
                super()._release([key])


class LockOverEverything(KeyedLock[str]):
    """Wrong for speed: one key for all."""

    def __call__(self, key: str, /, *more: str) -> Any:
        return super().__call__("everything")


class LockForEachCall(KeyedLock[str]):
    """Wrong: each call has a lock of its own."""

    calls = 0

    def __call__(self, key: str, /, *more: str) -> Any:
        self.calls += 1
        return super().__call__(f"{key} {self.calls}")


class OrderOfTheCaller(KeyedLock[str]):
    """Wrong: the keys are taken as they are named."""

    def __call__(self, key: str, /, *more: str) -> Any:
        hold = super().__call__(key, *more)
        hold._keys = (key, *more)
        return hold


class KeepsWhatItHas(KeyedLock[str]):
    """Wrong: who is cancelled at the second key keeps the first."""

    async def _take(self, keys: Any) -> None:
        for key in keys:
            await self._take_one(key)


class WaitsForEver(KeyedLock[str]):
    """Wrong: no limit on the queue, and a task may wait for itself."""

    async def _take_one(self, key: str) -> None:
        slot = self._slots.get(key)
        if slot is not None:
            slot.holder, slot.users = None, slot.users - 100
            try:
                await super()._take_one(key)
            finally:
                slot.users += 100
        else:
            await super()._take_one(key)


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (DropsItAtRelease, check_that_a_late_comer_meets_the_lock_that_is_waited_for),
        (DropsItWhenUnlocked, check_that_a_late_comer_meets_the_lock_that_is_waited_for),
        (LockOverEverything, check_that_other_keys_do_not_wait),
        (LockForEachCall, check_that_a_key_is_held_by_one_in_order_of_arrival),
        (OrderOfTheCaller, check_that_opposite_orders_do_not_wait_for_each_other),
        (KeepsWhatItHas, check_that_who_gives_up_holds_nothing),
        (WaitsForEver, check_that_the_queue_is_bounded),
        (WaitsForEver, check_that_a_task_is_told_that_it_would_wait_for_itself),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Any, check: Any) -> None:
    with pytest.raises(AssertionError):
        asyncio.run(check(twin))


@in_a_loop
async def test_an_error_inside_frees_the_keys() -> None:
    locks: KeyedLock[str] = KeyedLock(timeout_s=60)
    with pytest.raises(RuntimeError):
        async with locks("AAPL", "MSFT", "AAPL"):
            raise RuntimeError("the work failed")
    assert len(locks) == 0


@in_a_loop
async def test_memory_is_held_for_keys_in_use_only() -> None:
    locks: KeyedLock[int] = KeyedLock(timeout_s=60)
    for number in range(10_000):
        async with locks(number):
            assert len(locks) == 1
    assert len(locks) == 0


def test_one_object_serves_several_loops_one_after_the_other() -> None:
    locks: KeyedLock[str] = KeyedLock(timeout_s=60)

    async def main() -> None:
        visits = Visits(locks)
        for name in "AB":
            await visits.start(name, "AAPL")
        await visits.end("A", "B")
        assert visits.order == ["A", "B"]

    for _ in range(2):
        asyncio.run(main())


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(KeyedLock).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"max_waiting": 1_000}


@in_a_loop
async def test_with_no_patience_and_no_queue_a_key_that_is_taken_is_refused_at_once() -> None:
    for options, counts in (({"timeout_s": 0}, (1, 0)), ({"timeout_s": 60, "max_waiting": 0}, (0, 1))):
        locks: KeyedLock[str] = KeyedLock(**options)  # type: ignore[arg-type]
        async with locks("AAPL"):
            with pytest.raises(NotAcquired):
                await asyncio.wait_for(asyncio.create_task(_take(locks)), 5)
        assert (locks.timeouts, locks.refused) == counts
        await _take(locks)
        assert len(locks) == 0


async def _take(locks: KeyedLock[str]) -> None:
    async with locks("AAPL"):
        pass


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[KeyedLock.__module__]).failed == 0
