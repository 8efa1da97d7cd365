"""A task that was started ends: by itself, heard where it fails, or cancelled and waited for at the end."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import functools
import gc
import inspect
import logging
import sys
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from reference_app.patterns.task_registry import NotStarted, TaskRegistry

Make = Callable[..., TaskRegistry]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Job:
    """Work that ends when the test says so, and notes how."""

    def __init__(self) -> None:
        self.may_end, self.may_clean_up = asyncio.Event(), asyncio.Event()
        self.may_clean_up.set()
        self.outcome = "not begun"

    async def __call__(self) -> None:
        self.outcome = "running"
        try:
            await self.may_end.wait()
            self.outcome = "done"
        except asyncio.CancelledError:
            self.outcome = "cleaning up"
            await self.may_clean_up.wait()
            self.outcome = "cancelled"
            raise


# Each check is a rule, and a wrong twin further down (the pattern with one mistake) breaks it.


async def check_that_no_task_vanishes(make: Make) -> None:
    futures: list[weakref.ref[asyncio.Future[None]]] = []
    ended: list[bool] = []

    async def waits_for_what_only_it_knows() -> None:
        future = asyncio.get_running_loop().create_future()
        futures.append(weakref.ref(future))
        await future
        ended.append(True)

    async with make(max_tasks=1, finish_s=0.5) as tasks:
        tasks.start(waits_for_what_only_it_knows())
        await settle()
        gc.collect()
        if (future := futures[0]()) is not None:
            future.set_result(None)
    assert ended, "the task was collected in the middle"


async def check_that_the_end_lets_tasks_finish(make: Make) -> None:
    job = Job()
    async with make(max_tasks=1, finish_s=5) as tasks:
        tasks.start(job())
        await settle()
        asyncio.get_running_loop().call_soon(job.may_end.set)
    assert job.outcome == "done"


async def check_that_the_end_cancels_what_hangs_and_waits_for_its_clean_up(make: Make) -> None:
    job = Job()
    job.may_clean_up.clear()

    async def service() -> None:
        async with make(max_tasks=1, finish_s=0.01) as tasks:
            tasks.start(job())

    ending = asyncio.create_task(service())
    async with asyncio.timeout(5):
        while job.outcome != "cleaning up":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    await settle()
    assert not ending.done(), "it did not wait for the clean-up"
    job.may_clean_up.set()
    await asyncio.wait_for(ending, 5)
    assert job.outcome == "cancelled"


async def check_that_the_number_is_bounded(make: Make) -> None:
    job = Job()
    async with make(max_tasks=2, finish_s=0.5) as tasks:
        tasks.start(job())
        tasks.start(job())
        with pytest.raises(NotStarted, match="2 tasks run"):
            tasks.start(job())
        assert (len(tasks), tasks.refused) == (2, 1)
        job.may_end.set()
        await settle()
        tasks.start(job())


async def check_that_nothing_starts_while_it_ends(make: Make) -> None:
    refused: list[str] = []

    async def starts_another() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            tasks.start(Job()())
        except NotStarted as error:
            refused.append(str(error))

    async with make(max_tasks=9, finish_s=0.5) as tasks:
        tasks.start(starts_another())
    assert refused == ["the service is closing"]
    assert len(tasks) == 0


async def check_that_an_error_is_heard_at_once(make: Make) -> None:
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = heard.append  # type: ignore[method-assign, assignment]
    logger = logging.getLogger(TaskRegistry.__module__)
    logger.addHandler(handler)
    logger.propagate = False

    async def fails() -> None:
        raise LookupError("no such instrument")

    try:
        async with make(max_tasks=1, finish_s=5) as tasks:
            tasks.start(fails(), name="refresh AAPL")
            await settle()
            assert [it.getMessage() for it in heard] == ["the task refresh AAPL failed"]
            assert heard[0].exc_info
            assert tasks.failed == 1
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(TaskRegistry))


class HeldWeakly(TaskRegistry):
    """Wrong: as the loop itself does, it holds tasks weakly, and they may be collected while they run."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._tasks: Any = weakref.WeakSet()


class CancelsAtOnce(TaskRegistry):
    """Wrong: what takes a moment more is cut off in the middle."""

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await super().__aexit__()


class CancelsAndGoes(TaskRegistry):
    """Wrong: `cancel` is a request; the pool closes while the clean-up needs it."""

    async def __aexit__(self, *exc_info: object) -> None:
        self._closed = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self._finish_s)
        for task in self._tasks:
            task.cancel()


class NeverFull(TaskRegistry):
    """Wrong: it holds everything that comes, until memory ends."""

    def start(self, work: Any, *, name: str | None = None) -> Any:
        self._max_tasks += 1
        return super().start(work, name=name)


class ClosesLast(TaskRegistry):
    """Wrong: a task that starts another while the end waits leaves it behind."""

    async def __aexit__(self, *exc_info: object) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self._finish_s)
        await super().__aexit__()


class TellsAtTheEnd(TaskRegistry):
    """Wrong: the error stays in the task, and somebody might look there at the end."""

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self.failed += not task.cancelled() and task.exception() is not None


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (HeldWeakly, check_that_no_task_vanishes),
        (CancelsAtOnce, check_that_the_end_lets_tasks_finish),
        (CancelsAndGoes, check_that_the_end_cancels_what_hangs_and_waits_for_its_clean_up),
        (NeverFull, check_that_the_number_is_bounded),
        (ClosesLast, check_that_nothing_starts_while_it_ends),
        (TellsAtTheEnd, check_that_an_error_is_heard_at_once),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Make, check: Callable[[Make], Awaitable[None]]) -> None:
    with asyncio.Runner() as runner:
        # What the twins lose is told to the loop, and is no news here.
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            runner.run(check(twin))


@in_a_loop
async def test_it_logs_who_ignores_the_end_and_goes(caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn(may_end: asyncio.Event) -> None:
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    may_end = asyncio.Event()
    async with TaskRegistry(max_tasks=1, finish_s=0.01, cancel_s=0.01) as tasks:
        task = tasks.start(stubborn(may_end), name="stubborn")
    assert tasks.abandoned == 1
    # Not those of asyncio: what other tests have left is logged when it is collected.
    assert [it.getMessage() for it in caplog.records if it.name != "asyncio"] == [
        "tasks ignore their cancellation: stubborn"
    ]
    may_end.set()
    await task


@in_a_loop
async def test_a_server_without_patience_ends_the_wait_and_tasks_are_cancelled_all_the_same() -> None:
    job = Job()
    registry = TaskRegistry(max_tasks=1, finish_s=60)

    async def service() -> None:
        async with registry:
            registry.start(job())

    ending = asyncio.create_task(service())
    await settle()
    ending.cancel()
    await asyncio.wait([ending], timeout=5)
    assert ending.cancelled()
    assert (job.outcome, len(registry), registry.cancelled) == ("cancelled", 0, 1)


@in_a_loop
async def test_a_task_has_the_context_of_its_request_and_a_name() -> None:
    request_id: ContextVar[str] = ContextVar("request_id")

    async def note() -> str:
        return request_id.get()

    async with TaskRegistry(max_tasks=1, finish_s=5) as tasks:
        request_id.set("order-7")
        task = tasks.start(note())
        assert "note" in task.get_name()
        assert await task == "order-7"


def test_it_can_be_opened_again() -> None:
    registry, job = TaskRegistry(max_tasks=1, finish_s=5), Job

    async def main() -> None:
        async with registry:
            work = job()
            work.may_end.set()
            await registry.start(work())

    asyncio.run(main())
    asyncio.run(main())
    assert registry.started == 2


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(TaskRegistry).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"cancel_s": 1.0}


@in_a_loop
async def test_with_no_time_to_finish_or_to_clean_up_only_those_who_need_some_are_abandoned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    job, slow = Job(), Job()
    slow.may_clean_up.clear()
    async with TaskRegistry(max_tasks=2, finish_s=0, cancel_s=0) as tasks:
        tasks.start(job(), name="quick to end")
        left = tasks.start(slow(), name="needs its time")
        await settle()
    assert (job.outcome, tasks.abandoned) == ("cancelled", 1)
    assert [it.getMessage() for it in caplog.records if it.name != "asyncio"] == [
        "tasks ignore their cancellation: needs its time"
    ]
    slow.may_clean_up.set()
    await asyncio.wait([left])


@in_a_loop
async def test_with_no_places_every_task_is_refused() -> None:
    async with TaskRegistry(max_tasks=0, finish_s=5) as tasks:
        with pytest.raises(NotStarted, match="0 tasks run"):
            tasks.start(Job()())
    assert (tasks.refused, tasks.started) == (1, 0)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[TaskRegistry.__module__]).failed == 0
