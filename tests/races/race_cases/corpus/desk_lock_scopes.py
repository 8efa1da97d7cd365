"""Locks that are taken in the wrong order, for too short a time or by the wrong owner."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def desk():
    return SimpleNamespace(
        locks={},
        lock=asyncio.Lock(),
        other=asyncio.Lock(),
        inside=0,
        peak=0,
        waited=False,
        ready=False,
        pool=None,
        opened=0,
        owner=None,
        readers=0,
        balances={1: 50, 2: 80},
        total=0,
    )


def one_at_a_time(s, r):
    return s.peak == 1


async def work(s):
    """Count who is inside at once."""
    s.inside += 1
    s.peak = max(s.peak, s.inside)
    await io()
    s.inside -= 1


def transfer(source, target, by):
    async def move(s):
        first, second = sorted((source, target), key=lambda number: by(s, number))
        for number in (1, 2):
            s.locks.setdefault(number, asyncio.Lock())
        async with s.locks[first]:
            await io()
            async with s.locks[second]:
                s.balances[source] -= 40
                s.balances[target] += 40
                await io()

    return move


def locks_in_the_order_of_the_balance(s, number):
    return s.balances[number]


def locks_in_the_order_of_the_number(s, number):
    return number


async def deposit(s):
    s.balances[1] += 50


case(
    WRONG,
    "the order comes from the balances, and a deposit between the two requests turns it round: deadlock",
    make=desk,
    check=None,
    requests={
        "A": transfer(1, 2, locks_in_the_order_of_the_balance),
        "D": deposit,
        "B": transfer(2, 1, locks_in_the_order_of_the_balance),
    },
)(locks_in_the_order_of_the_balance)

case(
    RIGHT,
    "the order comes from the number, which never changes",
    make=desk,
    check=lambda s, r: s.balances == {1: 100, 2: 80},
    requests={
        "A": transfer(1, 2, locks_in_the_order_of_the_number),
        "D": deposit,
        "B": transfer(2, 1, locks_in_the_order_of_the_number),
    },
)(locks_in_the_order_of_the_number)


async def add_one(s):
    total = s.total
    await io()
    s.total = total + 1


@case(
    WRONG,
    "the work is only started under the lock; the lock is free again before it runs",
    make=desk,
    check=lambda s, r: s.total == 2,
)
async def work_started_under_the_lock(s):
    async with s.lock:
        task = asyncio.create_task(add_one(s))
    await task


@case(
    RIGHT, "the lock is given back when the started work is over", make=desk, check=lambda s, r: s.total == 2
)
async def started_work_awaited_under_the_lock(s):
    async with s.lock:
        await asyncio.create_task(add_one(s))


@case(
    RIGHT,
    "nothing is awaited between the look and a free lock's acquire, so nobody ever waits",
    make=desk,
    check=lambda s, r: s.peak == 1 and not s.waited,
)
async def refused_while_locked(s):
    if s.lock.locked():
        return "busy"
    entries = s.total
    async with s.lock:
        s.waited |= s.total != entries
        s.total += 1
        await work(s)
    return "done"


async def open_pool(s):
    await io()
    s.opened += 1
    s.pool = "pool"


@case(
    WRONG,
    "the second one waits for the lock, but does not look again: two pools",
    make=desk,
    check=lambda s, r: s.opened == 1,
)
async def pool_checked_only_before_the_lock(s):
    if s.pool is None:
        async with s.lock:
            await open_pool(s)


@case(
    WRONG,
    "ready is said before the pool is open, and who asks then goes past the lock without one",
    make=desk,
    check=lambda s, r: set(r.values()) == {"pool"},
)
async def ready_said_too_early(s):
    if not s.ready:
        async with s.lock:
            if not s.ready:
                s.ready = True
                await open_pool(s)
    return s.pool


@case(
    RIGHT,
    "looked at again under the lock, and visible only when it is open",
    make=desk,
    check=lambda s, r: s.opened == 1 and set(r.values()) == {"pool"},
)
async def pool_checked_on_both_sides(s):
    if s.pool is None:
        async with s.lock:
            if s.pool is None:
                await open_pool(s)
    return s.pool


async def write(s):
    async with s.lock:
        s.total = 1
        await io()
        s.total = 2


async def readers_counted_without_a_lock(s):
    s.readers += 1
    if s.readers == 1:
        await s.lock.acquire()
    seen = s.total
    await io()
    s.readers -= 1
    if s.readers == 0:
        s.lock.release()
    return seen


async def readers_counted_under_a_lock(s):
    async with s.other:
        s.readers += 1
        if s.readers == 1:
            await s.lock.acquire()
    seen = s.total
    await io()
    async with s.other:
        s.readers -= 1
        if s.readers == 0:
            s.lock.release()
    return seen


def no_half_write(s, r):
    return r["A"] in (0, 2) and r["B"] in (0, 2)


case(
    WRONG,
    "the second reader goes in while the first still waits for the writer",
    make=desk,
    check=no_half_write,
    requests={"A": readers_counted_without_a_lock, "B": readers_counted_without_a_lock, "W": write},
)(readers_counted_without_a_lock)

case(
    RIGHT,
    "the second reader waits at the counter until the first one has the lock for both",
    make=desk,
    check=no_half_write,
    requests={"A": readers_counted_under_a_lock, "B": readers_counted_under_a_lock, "W": write},
)(readers_counted_under_a_lock)


def reentrant(owner):
    async def enter(s):
        if s.owner is not None and s.owner == owner():
            await work(s)
            return
        async with s.lock:
            s.owner = owner()
            await work(s)
            s.owner = None

    return enter


def reentrant_by_user(owner=lambda: "anna"):
    return reentrant(owner)


case(
    WRONG,
    "the lock lets its owner in again, and the owner is the user, who has two tabs open",
    make=desk,
    check=one_at_a_time,
    requests={name: reentrant_by_user() for name in "AB"},
)(reentrant_by_user)


def reentrant_by_task(owner=asyncio.current_task):
    return reentrant(owner)


case(
    RIGHT,
    "the owner is the task, and a task is in one place at a time",
    make=desk,
    check=one_at_a_time,
    requests={name: reentrant_by_task() for name in "AB"},
)(reentrant_by_task)
