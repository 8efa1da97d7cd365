# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""One lock a key: work on the same thing waits, work on other things does not.

Use it where requests of one process read, decide and write in memory across an await: one account, one order
book, one file. A lock over everything is right and slow; a lock made in each request locks nothing.

Do not use it where several workers change the same thing: lock the row. Best is often one atomic statement.

Limits: one process and one event loop. Not re-entrant. Keys needed together are taken in one call, which
sorts them; nested calls can wait for each other until `timeout_s`. It bounds the wait and not the work.

Instead: `asyncio-keyed-lock`, for one key a call and without limits on the wait. The `lock` of `cashews` is
seen by other processes, but polls, knows no order of arrival, and lets everybody in when Redis is down.

Example:
    >>> async def transfer() -> None:
    ...     accounts: KeyedLock[str] = KeyedLock(timeout_s=5)
    ...     async with accounts("alice", "bob"):
    ...         print("both are mine,", len(accounts), "locks")
    >>> asyncio.run(transfer())
    both are mine, 2 locks

Source: Coffman and others, "System Deadlocks" (1971).
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar


class Sortable(Hashable, Protocol):
    """What a key must be: hashable, and comparable with the others, like str, int, UUID or tuples of them."""

    def __lt__(self, other: Any, /) -> bool: ...


K = TypeVar("K", bound=Sortable)


class NotAcquired(Exception):
    """The keys were not free within `timeout_s`, or `max_waiting` tasks wait already; none is held."""


class AlreadyHeld(RuntimeError):
    """The task holds the key already: it would wait for itself for ever."""


class _Slot:
    """One key: who holds it, how many hold it or wait for it, and what those wait for."""

    __slots__ = ("holder", "lock", "users")

    def __init__(self, holder: asyncio.Task[Any] | None) -> None:
        self.holder = holder
        self.users = 1
        self.lock: asyncio.Lock | None = None  # made by the first who has to wait


class KeyedLock(Generic[K]):
    """Locks by key, first come, first served; a lock exists while somebody holds it or waits for it.

    Args:
        timeout_s: Seconds to wait for all keys of a call.
        max_waiting: How many tasks may wait for one key.

    Attributes:
        acquired: Calls that got their keys.
        contended: Calls that found a key taken.
        timeouts: Calls that gave up.
        refused: Calls that found `max_waiting` tasks before them.
    """

    def __init__(self, *, timeout_s: float, max_waiting: int = 1_000) -> None:
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._slots: dict[K, _Slot] = {}
        self.acquired = self.contended = self.timeouts = self.refused = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __call__(self, key: K, /, *more: K) -> _Hold[K]:
        """Return an async context manager that holds all keys, or raises NotAcquired or AlreadyHeld."""
        # In one order for all: else A holds 1 and waits for 2 while B holds 2 and waits for 1.
        return _Hold(self, sorted({key, *more}) if more else (key,))

    async def _acquire(self, keys: Sequence[K]) -> None:
        self.contended += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._take(keys)
        except TimeoutError:
            self.timeouts += 1
            raise NotAcquired(f"the keys were not free within {self._timeout_s} s") from None

    async def _take(self, keys: Sequence[K]) -> None:
        for taken, key in enumerate(keys):
            try:
                await self._take_one(key)
            except BaseException:
                self._release(keys[:taken])
                raise

    async def _take_one(self, key: K) -> None:
        task = asyncio.current_task()
        slot = self._slots.get(key)
        if slot is None:
            self._slots[key] = _Slot(task)
            return
        if slot.holder is task:
            raise AlreadyHeld("this task holds the key already; take all keys of one step in one call")
        if slot.users > self._max_waiting:
            self.refused += 1
            raise NotAcquired(f"{self._max_waiting} tasks wait for the key already")
        if slot.lock is None:
            slot.lock = asyncio.Lock()
            await slot.lock.acquire()  # for the holder; it is free, so this does not wait
        slot.users += 1
        try:
            await slot.lock.acquire()
        except BaseException:
            self._leave(key, slot)
            raise
        slot.holder = task

    def _release(self, keys: Sequence[K]) -> None:
        for key in keys:
            slot = self._slots[key]
            slot.holder = None
            if slot.lock is not None:
                slot.lock.release()
            self._leave(key, slot)

    def _leave(self, key: K, slot: _Slot) -> None:
        slot.users -= 1
        if not slot.users:  # dropped earlier, the next caller would make a second lock beside the held one
            del self._slots[key]


class _Hold(Generic[K]):
    def __init__(self, locks: KeyedLock[K], keys: Sequence[K]) -> None:
        self._locks = locks
        self._keys = keys

    async def __aenter__(self) -> None:
        slots = self._locks._slots
        if slots.keys().isdisjoint(self._keys):  # nothing waits, and a timer costs more than all the rest
            task = asyncio.current_task()
            slots.update((key, _Slot(task)) for key in self._keys)
        else:
            await self._locks._acquire(self._keys)
        self._locks.acquired += 1

    async def __aexit__(self, *exc_info: object) -> None:
        # Nothing is awaited here, so that no cancellation can leave a key locked.
        self._locks._release(self._keys)
