"""A request whose task is cancelled at any of its steps."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def two_accounts():
    return SimpleNamespace(
        x=100, y=0, lock=asyncio.Lock(), tasks=set(), inflight={}, cache={}, slots=1, open=0
    )


def sum_and_lock(s, results):
    assert s.x + s.y == 100, f"x={s.x} y={s.y}"
    assert not s.lock.locked(), "the lock is never given back"


moving = {"make": two_accounts, "check": sum_and_lock, "cancel": ("A",)}


async def move(s):
    s.x -= 10
    await io()
    s.y += 10


@case(WRONG, "cancelled between the two writes, the money is gone", **moving)
async def two_writes_under_a_lock(s):
    async with s.lock:
        await move(s)


@case(WRONG, "CancelledError is not an Exception, so nothing is put back", **moving)
async def put_back_on_exception(s):
    async with s.lock:
        before = (s.x, s.y)
        try:
            await move(s)
        except Exception:
            s.x, s.y = before
            raise


@case(RIGHT, "put back whatever happens", **moving)
async def put_back_on_base_exception(s):
    async with s.lock:
        before = (s.x, s.y)
        try:
            await move(s)
        except BaseException:
            s.x, s.y = before
            raise


@case(WRONG, "cancelled inside, the lock is never released", **moving)
async def lock_without_finally(s):
    await s.lock.acquire()
    await io()
    s.x -= 10
    s.y += 10
    s.lock.release()


@case(RIGHT, "finally gives the lock back", **moving)
async def lock_with_finally(s):
    await s.lock.acquire()
    try:
        await io()
        s.x -= 10
        s.y += 10
    finally:
        s.lock.release()


@case(WRONG, "only the second write is shielded", **moving)
async def half_of_it_shielded(s):
    async with s.lock:
        s.x -= 10
        await io()

        async def second():
            await io()
            s.y += 10

        await asyncio.shield(second())


async def careful_move(s):
    x, y = s.x, s.y
    await io()
    s.x = x - 10
    await io()
    s.y = y + 10


@case(WRONG, "the lock is given back while the shielded work still runs", **moving)
async def shield_inside_of_the_lock(s):
    async with s.lock:
        task = asyncio.create_task(careful_move(s))
        s.tasks.add(task)
        await asyncio.shield(task)


@case(RIGHT, "the shielded work holds the lock itself", **moving)
async def lock_inside_of_the_shield(s):
    async def work():
        async with s.lock:
            await move(s)

    task = asyncio.create_task(work())
    s.tasks.add(task)
    await asyncio.shield(task)


@case(RIGHT, "both writes are one step", **moving)
async def writes_without_an_await(s):
    async with s.lock:
        await io()
        s.x -= 10
        s.y += 10


@case(
    WRONG,
    "a cancelled leader leaves its followers waiting for ever",
    make=two_accounts,
    check=None,
    cancel=("A",),
)
async def leader_is_cancelled(s):
    if "k" in s.cache:
        return s.cache["k"]
    if "k" in s.inflight:
        return await s.inflight["k"]
    future = s.inflight["k"] = asyncio.get_running_loop().create_future()
    await io()
    s.cache["k"] = "value"
    future.set_result("value")
    del s.inflight["k"]
    return "value"


@case(
    WRONG,
    "a cancelled request keeps its slot",
    make=two_accounts,
    check=lambda s, r: s.slots == 1,
    cancel=("A",),
)
async def slot_without_finally(s):
    if s.slots == 0:
        return "busy"
    s.slots -= 1
    await io()
    s.slots += 1
    return "done"


@case(RIGHT, "finally gives the slot back", make=two_accounts, check=lambda s, r: s.slots == 1, cancel=("A",))
async def slot_with_finally(s):
    if s.slots == 0:
        return "busy"
    s.slots -= 1
    try:
        await io()
    finally:
        s.slots += 1
    return "done"


@case(
    WRONG, "the gauge is not counted down", make=two_accounts, check=lambda s, r: s.open == 0, cancel=("A",)
)
async def gauge_without_finally(s):
    s.open += 1
    await io()
    s.open -= 1
