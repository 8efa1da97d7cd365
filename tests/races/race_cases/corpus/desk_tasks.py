"""Requests that start tasks: groups, gather, chains, hedges and debounces."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def office():
    return SimpleNamespace(total=0, saved=None, charges=[], batch=[], flushed=[], flusher=None)


async def price(name):
    await io()
    return {"tea": 3, "rice": 5}[name]


async def group_adds_to_one_sum(s):
    async def add(name):
        total = s.total
        s.total = total + await price(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(add("tea"))
        group.create_task(add("rice"))


async def group_returns_its_parts(s):
    async with asyncio.TaskGroup() as group:
        parts = [group.create_task(price(name)) for name in ("tea", "rice")]
    s.total += sum(part.result() for part in parts)


case(
    WRONG,
    "one request races with itself: its two child tasks add to the same sum over an await",
    make=office,
    check=lambda s, r: s.total == 8,
    requests={"A": group_adds_to_one_sum},
)(group_adds_to_one_sum)

case(
    RIGHT,
    "the children return their parts, and the parent adds them when the group is closed",
    make=office,
    check=lambda s, r: s.total == 8,
    requests={"A": group_returns_its_parts},
)(group_returns_its_parts)


async def prices_in_order_of_arrival(s):
    found = []

    async def fetch(name):
        found.append(await price(name))

    async with asyncio.TaskGroup() as group:
        for name in ("tea", "rice"):
            group.create_task(fetch(name))
    return dict(zip(("tea", "rice"), found, strict=True))


async def prices_in_order_of_the_call(s):
    return dict(zip(("tea", "rice"), await asyncio.gather(price("tea"), price("rice")), strict=True))


case(
    WRONG,
    "the prices are listed as they arrive and paired with the names as they were asked",
    make=office,
    check=lambda s, r: r["A"] == {"tea": 3, "rice": 5},
    requests={"A": prices_in_order_of_arrival},
)(prices_in_order_of_arrival)

case(
    RIGHT,
    "gather returns in the order of its arguments, whatever arrives first",
    make=office,
    check=lambda s, r: r["A"] == {"tea": 3, "rice": 5},
    requests={"A": prices_in_order_of_the_call},
)(prices_in_order_of_the_call)


async def save(s, text):
    await io()
    s.saved = text


async def saves_beside_each_other(s):
    saves = [asyncio.create_task(save(s, text)) for text in ("draft", "final")]
    await asyncio.wait(saves)


async def saves_in_a_chain(s):
    async def save_after(previous, text):
        if previous is not None:
            await previous
        await save(s, text)

    previous = None
    for text in ("draft", "final"):
        previous = asyncio.create_task(save_after(previous, text))
    await previous


case(
    WRONG,
    "the first save can arrive last, and the draft stands where the final text was",
    make=office,
    check=lambda s, r: s.saved == "final",
    requests={"A": saves_beside_each_other},
)(saves_beside_each_other)

case(
    RIGHT,
    "each save waits for the one before it",
    make=office,
    check=lambda s, r: s.saved == "final",
    requests={"A": saves_in_a_chain},
)(saves_in_a_chain)


async def hedged_charge(s):
    async def charge(house):
        await io()
        s.charges.append(house)
        await io()

    tries = [asyncio.create_task(charge(house)) for house in ("north", "south")]
    _, slower = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
    for task in slower:
        task.cancel()


case(
    WRONG,
    "the slower charge is cancelled, but it may have charged already",
    make=office,
    check=lambda s, r: len(s.charges) == 1,
    requests={"A": hedged_charge},
)(hedged_charge)


async def flush_cancelled_by_the_next(s):
    async def flush():
        await asyncio.sleep(1)
        batch, s.batch = s.batch, []
        await io()
        s.flushed += batch

    s.batch.append("line")
    if s.flusher is not None:
        s.flusher.cancel()
    s.flusher = asyncio.create_task(flush())
    await asyncio.wait([s.flusher])


case(
    WRONG,
    "the debounce cancels a flush that has the batch in its hands already: lines are lost",
    make=office,
    check=lambda s, r: len(s.flushed) + len(s.batch) == 2,
    requests={"A": flush_cancelled_by_the_next, "B": flush_cancelled_by_the_next},
)(flush_cancelled_by_the_next)
