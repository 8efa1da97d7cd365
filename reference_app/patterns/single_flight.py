# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Many ask for the same thing at the same time, and the work is done once.

Use it in front of anything slow that many requests ask for at once: the load behind a cache that has
expired, a token to be renewed, a report. The first caller starts the work, the others wait for its end.

Do not use it for writes (two orders are two orders), nor instead of a cache: nothing is kept afterwards.

Limits: one process and one event loop; N workers do the work N times. Callers get the same object, and the
same exception: change neither. The work runs in a task of its own with the context variables of its first
caller, and may outlive that caller, so it must not use what belongs to one request, such as its database
session. Who joins may get a value that was read before the call: after a write call `forget`. A lone caller
pays about twice what a bare task costs (`make bench`), because work that may outlive its first caller cannot
run in that caller's task: ask the cache first. Who joins pays a few microseconds.

Instead: `async_lru` is this and a cache with a TTL in one decorator. `cashews` has `thunder_protection`, but
its callers await the shared task itself, so that one who times out cancels the work of all. The package
`singleflight` answers a key with None for ever once its first caller was cancelled.

Example:
    >>> async def page() -> list[str]:
    ...     async def load() -> str:
    ...         print("load")
    ...         return "AAPL 131.12"
    ...     flights: SingleFlight[str] = SingleFlight()
    ...     return await asyncio.gather(*(flights.do("AAPL", load) for _ in range(3)))
    >>> asyncio.run(page())
    load
    ['AAPL 131.12', 'AAPL 131.12', 'AAPL 131.12']

Source: Go's golang.org/x/sync/singleflight, for the name, `do` and `forget`. Go does not cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class WorkCancelled(Exception):
    """The work cancelled itself, or was cancelled from outside; the caller who sees this was not."""


class RecursiveCall(RuntimeError):
    """The work asks for its own key, itself or through other work: it would wait for itself for ever."""


@dataclass(eq=False, slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiters: set[asyncio.Future[None]] = field(default_factory=set)
    waits_for: list[_Flight[Any]] = field(default_factory=list)

    def needs(self, other: _Flight[Any] | None) -> bool:
        """Tell whether this can only end after the other one; `do` refuses what would close a circle."""
        return self is other or any(it.needs(other) for it in self.waits_for)


#: The flight whose work is running here; tasks that the work starts inherit it.
_flying: ContextVar[_Flight[Any] | None] = ContextVar("single_flight", default=None)


class SingleFlight(Generic[V]):
    """Runs one piece of work a key at a time and gives its result to all who ask meanwhile.

    Memory is held for work under way only, so the callers bound it.

    Attributes:
        started: How often work was started.
        joined: How many callers found it under way: the work that was saved.
        abandoned: How often work was cancelled because its last caller had gone.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()
        self.started = self.joined = self.abandoned = 0

    @property
    def in_flight(self) -> int:
        """How much work is under way, forgotten work included."""
        return len(self._tasks)

    async def do(self, key: Hashable, work: Callable[[], Awaitable[V]]) -> V:
        """Return the result of the work that is under way for this key, or of `work`, which then is.

        Cancelling a caller (a timeout, a closed task group) does not touch the others. When the last one
        goes, the work is cancelled, and that caller waits for its clean-up, as if it had awaited the work.

        Args:
            key: What the work is for; work of the same key must give the same result.
            work: Called without arguments in a task of its own.

        Raises:
            WorkCancelled: The work ended as cancelled although a caller was waiting.
            RecursiveCall: Called from inside the work of the same key, or of work that waits for this key.
            Exception: Whatever the work raised; every caller gets it, and the next call starts anew.
        """
        flight = self._flights.get(key)
        # A flight that is over gives its value to those who waited, and to nobody who comes later.
        if flight is None or flight.task.done():
            flight = self._start(key, work)
        elif flight.needs(_flying.get()):
            raise RecursiveCall("the work of a key must not ask for the same key")
        else:
            self.joined += 1
        caller = _flying.get() or flight
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        flight.waiters.add(waiter)
        if caller is not flight:
            caller.waits_for.append(flight)
        try:
            await waiter
        finally:
            flight.waiters.discard(waiter)
            if caller is not flight:
                caller.waits_for.remove(flight)
            if not flight.waiters and not flight.task.done():
                await self._abandon(key, flight)
        if flight.task.cancelled():
            # A CancelledError would tell the caller that it was cancelled, and end a task group silently.
            raise WorkCancelled("the work was cancelled while callers were waiting for it")
        return flight.task.result()

    def forget(self, key: Hashable) -> None:
        """Let the next caller start anew: what is under way may have read what has been changed since.

        Those who wait already get the old result: they asked before the change was known.
        """
        self._flights.pop(key, None)

    def _start(self, key: Hashable, work: Callable[[], Awaitable[V]]) -> _Flight[V]:
        async def run() -> V:
            _flying.set(flight)
            return await work()

        task = asyncio.create_task(run(), name=f"single flight {key!r}")
        flight = self._flights[key] = _Flight(task)
        self.started += 1
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    def _land(self, key: Hashable, flight: _Flight[V]) -> None:
        self._tasks.discard(flight.task)
        self._drop(key, flight)
        for waiter in flight.waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _abandon(self, key: Hashable, flight: _Flight[V]) -> None:
        self._drop(key, flight)  # first of all: who comes during the clean-up must not join it
        self.abandoned += 1
        flight.task.cancel()
        await asyncio.wait([flight.task])

    def _drop(self, key: Hashable, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:  # else it was forgotten and a newer one has taken its place
            del self._flights[key]
