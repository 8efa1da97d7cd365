# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""An in-process cache with a time to live and a bound, which a late fill cannot turn back.

Use it for what is read often and may be a little old: instruments, settings, exchange rates. Nobody is given
a value that was read more than `ttl_s` ago, whatever else goes wrong. The trap it closes: a reader misses and
loads the old value, a writer changes it and invalidates the entry, and only then the reader stores what it
has. Without a guard the old value stays for the whole time to live.

Do not use it for what must be right at once (a balance), nor for what several workers must see change
together: each worker has its own copy and hears of no other's `invalidate`. That is `redis_cache`.

Limits: one event loop, no threads. The bound counts entries, not bytes. An expired entry keeps its place
until it is asked for or evicted. All get the same object: cache what nobody changes. Callers that miss
together load together: put `single_flight` around, `flights.do(key, lambda: cache.get_or_load(key, load))`,
and call `forget` beside `invalidate`.

Instead: `cachetools.TTLCache` bounds by size as well as by number, and is synchronous: it cannot know what is
being loaded, so the late fill is left to you. `async_lru` caches the task of the load, which closes the trap
too, for one decorated function. `cashews` has back ends, tags and early refresh, and stores a late fill.

Example:
    >>> import asyncio
    >>> async def quotes() -> None:
    ...     cache: TTLCache[str, str] = TTLCache(ttl_s=5.0, max_entries=1000)
    ...     async def load() -> str:
    ...         cache.invalidate("AAPL")  # somebody changes it while we are reading
    ...         return "the old price"
    ...     print(await cache.get_or_load("AAPL", load), "/", cache.get("AAPL"), "/", cache.late_fills)
    >>> asyncio.run(quotes())
    the old price / None / 1

Source: Nishtala and others, "Scaling Memcache at Facebook" (NSDI 2013), section 3.2.1, whose leases do this.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")
Clock = Callable[[], float]
_MISSING = object()


@dataclass
class _Loads:
    """The loads of one key that are under way.

    Attributes:
        running: How many there are.
        last: The number of the last one that began.
        outdated: Loads up to this number are too late.
    """

    running: int = 0
    last: int = 0
    outdated: int = 0


class TTLCache(Generic[K, V]):
    """Keeps values for a time, the most recently used ones up to a number.

    Args:
        ttl_s: Seconds that a value may be given out, counted from the start of its load.
        max_entries: How many values are kept; beyond it the least recently used one goes.
        clock: Monotonic seconds.

    Raises:
        ValueError: `ttl_s` or `max_entries` is not above 0.

    Attributes:
        hits: Answers from the cache.
        misses: Questions it could not answer.
        expired: How many of these because the entry was too old.
        evicted: Entries that made room for others; where they are many, `max_entries` is too low.
        late_fills: Loaded values that were not stored because the entry had been changed meanwhile.
    """

    def __init__(self, *, ttl_s: float, max_entries: int, clock: Clock = time.monotonic) -> None:
        if not ttl_s > 0 or max_entries < 1:
            raise ValueError(f"ttl_s and max_entries must be above 0, got {ttl_s!r} and {max_entries!r}.")
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._loads: dict[K, _Loads] = {}
        self.hits = self.misses = self.expired = self.evicted = self.late_fills = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, default: D | None = None) -> V | D | None:
        """Return the value, or `default` where there is none that is young enough."""
        entry = self._entries.get(key)
        if entry is not None and self._clock() < entry[0]:
            self._entries.move_to_end(key)
            self.hits += 1
            return entry[1]
        if entry is not None:
            del self._entries[key]
            self.expired += 1
        self.misses += 1
        return default

    def put(self, key: K, value: V) -> None:
        """Store a value that is known to be the newest; loads under way will not replace it."""
        self.invalidate(key)
        self._store(key, value, self._clock())

    def invalidate(self, key: K) -> None:
        """Drop a value once its change is committed; loads under way will not bring it back."""
        self._entries.pop(key, None)
        if (loads := self._loads.get(key)) is not None:
            loads.outdated = loads.last

    def clear(self) -> None:
        """Drop everything, as `invalidate` does."""
        for key in {*self._entries, *self._loads}:
            self.invalidate(key)

    async def get_or_load(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        """Return the value, and where there is none load it and store it.

        If `load` raises or is cancelled, nothing is stored and the caller gets the error.
        """
        found = self.get(key, _MISSING)
        if found is not _MISSING:
            return cast("V", found)
        loads = self._loads.setdefault(key, _Loads())
        loads.running += 1
        number = loads.last = loads.last + 1
        started_s = self._clock()
        try:
            value = await load()
            if number > loads.outdated:
                loads.outdated = number  # a load that began before this one must not replace it
                self._store(key, value, started_s)
            else:
                self.late_fills += 1
            return value
        finally:
            loads.running -= 1
            if not loads.running:  # nobody is left who could be late
                del self._loads[key]

    def _store(self, key: K, value: V, read_s: float) -> None:
        self._entries[key] = (read_s + self._ttl_s, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
            self.evicted += 1
