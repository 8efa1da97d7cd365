"""Events, conditions, semaphores and futures between requests."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def kitchen():
    return SimpleNamespace(
        orders=[],
        event=asyncio.Event(),
        condition=asyncio.Condition(),
        semaphore=asyncio.Semaphore(1),
        future=None,
        cooked=[],
        closed=False,
        waited=False,
        inside=0,
        peak=0,
        paid=False,
        shipped=False,
    )


async def order_and_ring(s):
    await io()
    s.orders.append("soup")
    s.event.set()


async def bell_cleared_after_the_look(s):
    while not s.orders:
        await io()
        s.event.clear()
        await s.event.wait()
    s.cooked.append(s.orders.pop())


async def bell_cleared_before_the_look(s):
    while True:
        s.event.clear()
        if s.orders:
            break
        await s.event.wait()
        await io()
    s.cooked.append(s.orders.pop())


case(
    WRONG,
    "the bell rings between the look and the clear, and the cook waits for ever beside an order",
    make=kitchen,
    check=None,
    requests={"cook": bell_cleared_after_the_look, "guest": order_and_ring},
)(bell_cleared_after_the_look)

case(
    RIGHT,
    "cleared first and looked at then: a ring after the look is heard by the wait",
    make=kitchen,
    check=lambda s, r: s.cooked == ["soup"],
    requests={"cook": bell_cleared_before_the_look, "guest": order_and_ring},
)(bell_cleared_before_the_look)


async def order_and_notify(s):
    async with s.condition:
        s.orders.append("soup")
        s.condition.notify()


async def pass_by_and_take(s):
    async with s.condition:
        if s.orders:
            s.cooked.append(s.orders.pop())


async def woken_means_there_is_one(s):
    async with s.condition:
        if not s.orders:
            await s.condition.wait()
        s.cooked.append(s.orders.pop())


async def asked_again_when_woken(s):
    async with s.condition:
        await s.condition.wait_for(lambda: s.orders or s.closed)
        if s.orders:
            s.cooked.append(s.orders.pop())


async def close(s):
    async with s.condition:
        s.closed = True
        s.condition.notify_all()


case(
    WRONG,
    "between the notify and the waking another one takes the order: pop from an empty list",
    make=kitchen,
    check=None,
    requests={
        "cook": woken_means_there_is_one,
        "guest": order_and_notify,
        "thief": pass_by_and_take,
        "more": order_and_notify,
    },
)(woken_means_there_is_one)

case(
    RIGHT,
    "wait_for asks again each time it is woken, and closing is a reason to stop as well",
    make=kitchen,
    check=lambda s, r: len(s.cooked) + len(s.orders) == 1,
    requests={
        "cook": asked_again_when_woken,
        "thief": pass_by_and_take,
        "guest": order_and_notify,
        "close": close,
    },
)(asked_again_when_woken)


def wait_for_one_of_two(notify):
    async def wait_paid(s):
        async with s.condition:
            await s.condition.wait_for(lambda: s.paid)

    async def wait_shipped(s):
        async with s.condition:
            await s.condition.wait_for(lambda: s.shipped)

    async def post(s):
        async with s.condition:
            s.paid = True
            notify(s.condition)
        await io()
        async with s.condition:
            s.shipped = True
            notify(s.condition)

    return {"paid": wait_paid, "shipped": wait_shipped, "desk": post}


def notify_one(condition):
    condition.notify()


def notify_everyone(condition):
    condition.notify_all()


case(
    WRONG,
    "one is notified, and it can be the one who waits for something else: the news is used up",
    make=kitchen,
    check=None,
    requests=wait_for_one_of_two(notify_one),
)(notify_one)

case(
    RIGHT,
    "all are notified, and each asks for itself whether it was meant",
    make=kitchen,
    check=lambda s, r: s.paid and s.shipped,
    requests=wait_for_one_of_two(notify_everyone),
)(notify_everyone)


async def at_the_stove(s):
    s.inside += 1
    s.peak = max(s.peak, s.inside)
    try:
        await io()
    finally:
        s.inside -= 1


async def released_though_never_acquired(s):
    try:
        await s.semaphore.acquire()
        await at_the_stove(s)
    finally:
        s.semaphore.release()


async def released_by_the_holder_only(s):
    async with s.semaphore:
        await at_the_stove(s)


case(
    WRONG,
    "cancelled while it waits, it releases what it never had: one place more than there are",
    make=kitchen,
    check=lambda s, r: s.peak <= 1,
    requests={
        "A": released_though_never_acquired,
        "B": released_though_never_acquired,
        "C": released_though_never_acquired,
    },
    cancel=("B",),
)(released_though_never_acquired)

case(
    RIGHT,
    "async with releases only what it acquired, also when the waiter is cancelled as it is woken",
    make=kitchen,
    check=lambda s, r: s.peak <= 1 and not s.semaphore.locked(),
    requests={"A": released_by_the_holder_only, "B": released_by_the_holder_only},
    cancel=("B",),
)(released_by_the_holder_only)


@case(
    WRONG,
    "the place is free at the look and taken after the round trip: the request that must not wait waits",
    make=kitchen,
    check=lambda s, r: not s.waited,
)
async def shed_by_a_look_before_the_round_trip(s):
    if s.semaphore.locked():
        return 503
    await io()
    s.waited |= s.semaphore.locked()
    async with s.semaphore:
        await at_the_stove(s)
    return 200


def answer_of(s):
    if s.future is None:
        s.future = asyncio.get_running_loop().create_future()
    return s.future


@case(
    WRONG,
    "both find the future open, and the second to set it gets InvalidStateError",
    make=kitchen,
    check=None,
)
async def future_set_after_an_await(s):
    if not answer_of(s).done():
        await io()
        answer_of(s).set_result("table 5")


@case(
    RIGHT,
    "look and set are one step; what follows is the same for both",
    make=kitchen,
    check=lambda s, r: set(r.values()) == {"table 5"},
)
async def future_set_at_once(s):
    await io()
    if not answer_of(s).done():
        answer_of(s).set_result("table 5")
    return await answer_of(s)
