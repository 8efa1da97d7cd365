# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""A cache that answers with the old value while one background load fetches the new one.

Use it where a slow answer hurts more than one some seconds old: quotes on a page, exchange rates, flags.
Nobody waits at the expiry, the source sees one load a key, and while it fails the old value holds out.

Do not use it where the first request after a change must see it, nor for keys that are rarely asked for: a
value is renewed only when somebody asks, and that one gets the old one.

Limits: one process and one event loop. The bound counts entries, not bytes. Who asks for a cold key waits and
gets the error of its load; a load goes on when its callers leave, so give it a timeout. It may ask the cache
for other keys, but two loads must not ask for each other's. It runs in the context in which the cache was
opened: the user of the request that starts it must not end up in everybody's value.

Instead: `cashews` with `early` does it in Redis too; a failed load is tried again by every next request, cold
keys are not protected. For whole responses a proxy: `Cache-Control: max-age=5, stale-while-revalidate=30`.

Example:
    >>> prices = iter(["131.12", "131.40", "131.38"])
    >>> async def load(symbol: str) -> str:
    ...     return next(prices)
    >>> async def page() -> None:
    ...     async with StaleWhileRevalidate(load=load, fresh_s=0, stale_s=30) as quotes:
    ...         print(await quotes.get("AAPL"), "/", await quotes.get("AAPL"))
    ...         await asyncio.sleep(0.01)  # the background load
    ...         print(await quotes.get("AAPL"))
    >>> asyncio.run(page())
    131.12 / 131.12
    131.40

Source: RFC 5861, HTTP Cache-Control Extensions for Stale Content.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Self, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class NotLoaded(Exception):
    """There is no value: the cache is closed, `max_loads` loads are running, or the load asks for itself."""


#: The loads for which this code runs, the innermost last.
_loading: contextvars.ContextVar[tuple[asyncio.Task[Any], ...]] = contextvars.ContextVar(
    "loading", default=()
)


@dataclass
class _Entry(Generic[V]):
    value: V
    read_s: float
    retry_at_s: float = 0.0


@dataclass(kw_only=True, eq=False)
class StaleWhileRevalidate(Generic[K, V]):
    """Gives out fresh values, old ones while it renews them, and nothing older; an async context manager.

    Attributes:
        load: Reads the value of a key.
        fresh_s: Seconds, from the start of its load, that a value is given out as it is.
        stale_s: Seconds after these that it is still given out, while it is renewed.
        retry_s: Seconds without a try after a load that failed.
        max_entries: How many values are kept; beyond it the least recently used one goes.
        max_loads: How many loads may run at once.
        clock: Monotonic seconds.
        fresh: How many answers were fresh.
        stale: How many were old.
        misses: How many had to wait for a load.
        failures: Loads that failed. This needs an alert: old values hide the trouble for `stale_s`.
        skipped: Loads that were not started, because `max_loads` were running or the cache was closed.
    """

    load: Callable[[K], Coroutine[Any, Any, V]]
    fresh_s: float
    stale_s: float
    retry_s: float = 1.0
    max_entries: int = 10_000
    max_loads: int = 100
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._loads: dict[K, asyncio.Task[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()  # those of invalidated keys too
        self._context: contextvars.Context | None = None
        self.fresh = self.stale = self.misses = self.failures = self.skipped = 0

    async def __aenter__(self) -> Self:
        self._context = contextvars.copy_context()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._context = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def get(self, key: K) -> V:
        """Return a value that was read at most `fresh_s + stale_s` ago.

        Raises:
            NotLoaded: There is none, and none can be loaded now.
            Exception: There is none, and this is what its load raised.
        """
        now_s = self.clock()
        entry = self._entries.get(key)
        if entry is None or now_s >= entry.read_s + self.fresh_s + self.stale_s:
            self.misses += 1
            return await self._loaded(key)
        self._entries.move_to_end(key)
        if now_s < entry.read_s + self.fresh_s:
            self.fresh += 1
        else:
            self.stale += 1
            if now_s >= entry.retry_at_s and key not in self._loads:
                self._start(key)
        return entry.value

    def invalidate(self, key: K) -> None:
        """Drop a value once its change is committed; a load under way will not bring it back."""
        self._entries.pop(key, None)
        self._loads.pop(key, None)

    async def _loaded(self, key: K) -> V:
        task = self._loads.get(key) or self._start(key)
        if task is None:
            raise NotLoaded("the cache is closed, or too many loads are running")
        if task in _loading.get():
            raise NotLoaded("a load asks for its own key, and would wait for itself")
        await asyncio.wait([task])  # awaiting the task would cancel it together with this caller
        if task.cancelled():
            raise NotLoaded("the load was cancelled")
        return task.result()

    def _start(self, key: K) -> asyncio.Task[V] | None:
        if self._context is None or len(self._tasks) >= self.max_loads:
            self.skipped += 1
            return None
        context = self._context.copy()
        task = asyncio.create_task(self.load(key), context=context)
        context.run(_loading.set, (*_loading.get(), task))  # before it runs for the first time
        task.add_done_callback(partial(self._ended, key, self.clock()))
        self._tasks.add(task)
        self._loads[key] = task
        return task

    def _ended(self, key: K, read_s: float, task: asyncio.Task[V]) -> None:
        self._tasks.discard(task)
        is_current = self._loads.get(key) is task  # else it was invalidated: this is the old value
        if is_current:
            del self._loads[key]
        if task.cancelled() and self._context is None:
            return  # it was closed
        # A driver may end as cancelled of its own accord; that is a load that failed, like any other.
        error = ConnectionError("cancelled") if task.cancelled() else task.exception()
        if error is not None:
            self.failures += 1
            entry = self._entries.get(key)
            if entry is not None:
                entry.retry_at_s = self.clock() + self.retry_s
                logging.getLogger(__name__).warning("a load failed, the old value stays", exc_info=error)
        elif is_current:
            self._entries[key] = _Entry(task.result(), read_s)
            if len(self._entries) > self.max_entries:
                self._entries.popitem(last=False)
