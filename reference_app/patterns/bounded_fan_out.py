# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Do the same for many things at once, but never more than so many, and lose no result and no error.

Use it where one request needs many calls: the price of each position, an upload to each of ten places. One
after the other is slow; all at once takes every connection of the pool, and ten requests take ten times that.
Share one object between requests: its limit holds for all of them together.

Do not use it for work that outlives the request (`task_registry`), nor for many rows of one database: one
query with a list of keys is faster than any fan-out.

Limits: one process and one event loop. All results are kept until the end. Each piece of work needs what
belongs to one task alone, such as a database session. What has been sent is not called back. A timeout costs
a timer for each piece, which is more than all the rest: pass None where the work has a timeout of its own.
Work that never waits holds the loop. Work, and what it starts, must not fan out again under the same limit
(NestedCall); two objects around each other can wait for each other.

Instead: `asyncio.TaskGroup` where the number is small and known. `aiometer` also limits the rate; its limit
is per call, it knows no timeout, gives all results or none, and raises the first of several errors only.
`asyncio.gather` lets the others go on when one fails, and with `return_exceptions=True` errors get lost.

Example:
    >>> async def value() -> None:
    ...     exchange = FanOut(limit=10, timeout_s=1)
    ...     async def price(symbol: str) -> float:
    ...         return {"AAPL": 131.12, "IBM": 188.41}[symbol]
    ...     print(await exchange.map(price, ["AAPL", "IBM"]))
    ...     print(await exchange.outcomes(price, ["AAPL", "ACME"], deadline_s=2))
    >>> asyncio.run(value())
    [131.12, 188.41]
    [131.12, Failed(error=KeyError('ACME'))]

Source: Nathaniel J. Smith, "Notes on structured concurrency" (2018); PEP 654 for groups of exceptions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class WorkCancelled(Exception):
    """A piece of work ended as cancelled although nobody had cancelled it."""


class NestedCall(RuntimeError):
    """Work fans out under the limit that it runs under: all places could wait for each other for ever."""


@dataclass(frozen=True)
class Failed:
    """Stands for the result of a piece of work that has none.

    Attributes:
        error: Says why.
    """

    error: Exception


@dataclass(eq=False)
class _Place:
    """A place that a piece of work holds."""

    owner: FanOut
    is_held: bool = True


#: The places of the work that this code runs for; what the work starts inherits them.
_places: ContextVar[tuple[_Place, ...]] = ContextVar("bounded_fan_out", default=())


class FanOut:
    """Runs work on many items; no more at once than `limit`, over all calls that are under way.

    Args:
        limit: How many pieces of work may run: at most the size of the pool that they share.
        timeout_s: Seconds for one piece, its wait for a place not counted; None if it ends itself.

    Attributes:
        running: How many pieces of work run now.
        done: How many have ended with a result.
        failed: How many have ended with an error.
        timed_out: How many of the failed ones ended at `timeout_s`.

    Raises:
        ValueError: `limit` is below 1.
    """

    def __init__(self, *, limit: int, timeout_s: float | None) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit!r}.")
        self._limit = limit
        self._timeout_s = timeout_s
        # One semaphore for all calls: with a limit for each, their number decides how much runs.
        self._places = asyncio.Semaphore(limit)
        self.running = self.done = self.failed = self.timed_out = 0

    async def map(self, work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
        """Return the results in the order of the items, or none at all.

        Raises:
            ExceptionGroup: What work raised; the first error cancels the rest, which is waited for.
            NestedCall: This is called from inside the work of the same object.
        """
        results: dict[int, R] = {}
        numbered = enumerate(items)

        async def worker(mine: Iterable[tuple[int, T]]) -> None:
            for number, item in chain(mine, numbered):
                results[number] = await self._run(work, item)

        await self._in_workers(worker, numbered)
        return [results[number] for number in range(len(results))]

    async def outcomes(
        self, work: Callable[[T], Awaitable[R]], items: Iterable[T], deadline_s: float | None
    ) -> list[R | Failed]:
        """Return a result or a `Failed` for each item; one that fails touches no other.

        Args:
            work: What to do with an item.
            items: One piece of work each.
            deadline_s: Seconds for all of them. What has not ended by then is cancelled, and is a Failed with
                a TimeoutError. None waits for all.

        Raises:
            NestedCall: This is called from inside the work of the same object.
        """
        results: dict[int, R | Failed] = {}
        late = Failed(TimeoutError(f"not done within {deadline_s} s"))
        numbered = enumerate(items)

        async def worker(mine: Iterable[tuple[int, T]]) -> None:
            for number, item in chain(mine, numbered):
                results[number] = late
                try:
                    results[number] = await self._run(work, item)
                except Exception as error:
                    results[number] = Failed(error)

        try:
            async with asyncio.timeout(deadline_s):
                await self._in_workers(worker, numbered)
        except TimeoutError:  # of the deadline: what work raises has become a result
            results.update((number, late) for number, _ in numbered)
        return [results[number] for number in range(len(results))]

    async def _in_workers(self, worker: Callable[[Any], Any], numbered: Iterator[Any]) -> None:
        if any(place.owner is self and place.is_held for place in _places.get()):
            raise NestedCall("work must not fan out under its own limit: take a second FanOut")
        async with asyncio.TaskGroup() as group:
            # As many tasks as may run, and not as many as there are items: a million tasks are gigabytes.
            for first in list(islice(numbered, self._limit)):
                group.create_task(worker([first]))

    async def _run(self, work: Callable[[T], Awaitable[R]], item: T) -> R:
        await self._places.acquire()
        self.running += 1
        place = _Place(self)
        token = _places.set((*_places.get(), place))
        try:
            if self._timeout_s is None:
                result = await work(item)
            else:
                result = await self._in_time(work, item)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # A task group takes a task that ends as cancelled for one that was cancelled, and goes on.
            self.failed += 1
            raise WorkCancelled("a piece of work cancelled itself") from None
        except Exception:
            self.failed += 1
            raise
        finally:
            place.is_held = False
            _places.reset(token)
            self.running -= 1
            self._places.release()
        self.done += 1
        return result

    async def _in_time(self, work: Callable[[T], Awaitable[R]], item: T) -> R:
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                return await work(item)
        except TimeoutError:
            if limit.expired():  # else it is one that the work raised
                self.timed_out += 1
            raise
