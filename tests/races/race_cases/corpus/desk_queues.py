"""Queues are drained, joined and closed."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def kitchen():
    return SimpleNamespace(queue=asyncio.Queue(), cooked=[], closed=False)


def one_order():
    s = kitchen()
    s.queue.put_nowait("soup")
    return s


@case(WRONG, "both see an order, one gets it, and the other waits for ever", make=one_order, check=None)
async def drained_with_a_pause(s):
    while not s.queue.empty():
        await io()
        s.cooked.append(await s.queue.get())


@case(
    RIGHT,
    "get() of a queue that is not empty does not suspend, so the look and the get are one step",
    make=one_order,
    check=lambda s, r: s.cooked == ["soup"],
)
async def drained_without_a_pause(s):
    while not s.queue.empty():
        order = await s.queue.get()
        await io()
        s.cooked.append(order)


async def done_said_at_the_get(s):
    order = await s.queue.get()
    s.queue.task_done()
    await io()
    s.cooked.append(order)


async def done_said_at_the_end(s):
    order = await s.queue.get()
    try:
        await io()
        s.cooked.append(order)
    finally:
        s.queue.task_done()


async def last_round(s):
    await s.queue.join()
    return list(s.cooked)


case(
    WRONG,
    "join counts the order as done while the cook still has it in hand",
    make=one_order,
    check=lambda s, r: r["close"] == ["soup"],
    requests={"cook": done_said_at_the_get, "close": last_round},
)(done_said_at_the_get)

case(
    RIGHT,
    "done is said when it is done, and join returns no sooner",
    make=one_order,
    check=lambda s, r: r["close"] == ["soup"],
    requests={"cook": done_said_at_the_end, "close": last_round},
)(done_said_at_the_end)


async def cook_until_the_sign(s):
    while (order := await s.queue.get()) is not None:
        s.cooked.append(order)


async def sign_out(s):
    s.closed = True
    s.queue.put_nowait(None)


async def put_after_a_round_trip(s):
    if s.closed:
        return False
    await io()
    s.queue.put_nowait("soup")
    return True


async def put_in_one_step(s):
    await io()
    if s.closed:
        return False
    s.queue.put_nowait("soup")
    return True


def every_promise_is_cooked(s, r):
    return len(s.cooked) == (r["guest"] is True)


case(
    WRONG,
    "the order is accepted before the closing sign and queued behind it, where nobody looks",
    make=kitchen,
    check=every_promise_is_cooked,
    requests={"cook": cook_until_the_sign, "guest": put_after_a_round_trip, "close": sign_out},
)(put_after_a_round_trip)

case(
    RIGHT,
    "accepted and queued in one step, so every accepted order stands before the sign",
    make=kitchen,
    check=every_promise_is_cooked,
    requests={"cook": cook_until_the_sign, "guest": put_in_one_step, "close": sign_out},
)(put_in_one_step)
