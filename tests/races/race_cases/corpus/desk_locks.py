"""Locks that are made late, made too often, thrown away too early or found by the wrong key."""

import asyncio
import weakref
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def desk():
    return SimpleNamespace(locks={}, weak=weakref.WeakValueDictionary(), users={}, inside=0, peak=0, total=0)


def one_at_a_time(s, r):
    return s.peak == 1


async def work(s):
    """Count who is inside at once."""
    s.inside += 1
    s.peak = max(s.peak, s.inside)
    await io()
    s.inside -= 1


async def new_lock():
    await io()
    return asyncio.Lock()


@case(
    WRONG,
    "each misses, each waits for a lock of its own, and the later one replaces the earlier",
    make=desk,
    check=one_at_a_time,
)
async def lazy_lock_stored_after_an_await(s):
    if 7 not in s.locks:
        s.locks[7] = await new_lock()
    async with s.locks[7]:
        await work(s)


@case(RIGHT, "however many are made, setdefault hands the first one to all", make=desk, check=one_at_a_time)
async def lazy_lock_through_setdefault(s):
    lock = s.locks.get(7) or s.locks.setdefault(7, await new_lock())
    async with lock:
        await work(s)


class Ledger:
    """A service that a dependency makes anew for each request, with its lock."""

    def __init__(self, s):
        self.s = s
        self.lock = asyncio.Lock()

    async def book(self):
        async with self.lock:
            total = self.s.total
            await io()
            self.s.total = total + 1


@case(
    WRONG,
    "the lock lives in the service object, and every request has a service of its own",
    make=desk,
    check=lambda s, r: s.total == 2,
)
async def lock_inside_the_service_of_a_request(s):
    await Ledger(s).book()


async def drop_lock_when_nobody_holds_it(s):
    lock = s.locks.setdefault(7, asyncio.Lock())
    async with lock:
        await work(s)
    if not lock.locked():
        s.locks.pop(7, None)


case(
    WRONG,
    "released and handed to a waiter that has not run yet looks like free: a third one makes a new lock",
    make=desk,
    check=one_at_a_time,
    requests=dict.fromkeys("ABC", drop_lock_when_nobody_holds_it),
)(drop_lock_when_nobody_holds_it)


@case(
    RIGHT,
    "who is about to use the lock is counted before the first await, and the last one drops it",
    make=desk,
    check=lambda s, r: s.peak == 1 and not s.locks and not s.users,
)
async def drop_lock_when_nobody_needs_it(s):
    lock = s.locks.setdefault(7, asyncio.Lock())
    s.users[7] = s.users.get(7, 0) + 1
    try:
        async with lock:
            await work(s)
    finally:
        s.users[7] -= 1
        if not s.users[7]:
            del s.users[7], s.locks[7]


@case(
    RIGHT,
    "holders and waiters keep the lock alive, and the weak dict forgets it when the last one is gone",
    make=desk,
    check=one_at_a_time,
)
async def lock_in_a_weak_dictionary(s):
    lock = s.weak.setdefault(7, asyncio.Lock())
    async with lock:
        await work(s)


async def by_path(s):
    async with s.locks.setdefault("7", asyncio.Lock()):
        await work(s)


async def by_body(s):
    async with s.locks.setdefault(7, asyncio.Lock()):
        await work(s)


case(
    WRONG,
    "the path gives the account as text and the body as a number: two locks for one account",
    make=desk,
    check=one_at_a_time,
    requests={"A": by_path, "B": by_body},
)(by_path)
