"""Counters, unique names, idempotency keys and caches."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, Store, collector, io

CASES = []
case = collector(CASES)


def counter():
    return SimpleNamespace(n=0, lock=asyncio.Lock())


async def bump(s):
    n = s.n
    await io()
    s.n = n + 1


@case(
    WRONG,
    "two tasks of one request race with each other",
    make=counter,
    check=lambda s, results: s.n == 2,
    requests={"A": lambda s: asyncio.gather(bump(s), bump(s))},
)
async def gather_in_one_request(s):
    raise AssertionError("this function only gives the case its name")


@case(
    WRONG,
    "the request does not wait for the task that stores",
    make=counter,
    check=lambda s, r: max(r.values()) == 2,
)
async def stored_in_the_background(s):
    n = s.n

    async def store():
        await io()
        s.n = n + 1

    s.task = asyncio.create_task(store())
    await io()
    await io()
    return s.n


def users():
    return SimpleNamespace(
        store=Store(), names=[], created=0, inflight={}, cache={}, loads=0, lock=asyncio.Lock()
    )


@case(WRONG, "both see that the name is free", make=users, check=lambda s, r: len(s.names) == 1)
async def unique_name_by_looking_first(s):
    await io()
    if "ada" not in s.names:
        await io()
        s.names.append("ada")


@case(
    RIGHT,
    "the insert itself refuses a second one",
    make=users,
    check=lambda s, r: sorted(r.values()) == [False, True],
)
async def unique_name_by_constraint(s):
    return await s.store.insert("ada", 1)


@case(WRONG, "the key is stored after the effect", make=users, check=lambda s, r: s.created == 1)
async def idempotency_key_stored_afterwards(s):
    if await s.store.get("key") is None:
        s.created += 1
        await s.store.set("key", "done")


@case(RIGHT, "the key is claimed before the effect", make=users, check=lambda s, r: s.created == 1)
async def idempotency_key_claimed_first(s):
    if await s.store.insert("key", "started"):
        s.created += 1
        await s.store.set("key", "done")


async def load(s):
    s.loads += 1
    await io()
    return "value"


one_load = {"make": users, "check": lambda s, results: s.loads == 1}


@case(WRONG, "both miss and both load", **one_load)
async def cache_without_a_lock(s):
    if "k" not in s.cache:
        s.cache["k"] = await load(s)
    return s.cache["k"]


@case(WRONG, "the second one loads again when it gets the lock", **one_load)
async def cache_lock_without_second_look(s):
    if "k" not in s.cache:
        async with s.lock:
            s.cache["k"] = await load(s)
    return s.cache["k"]


@case(RIGHT, "it looks again inside of the lock", **one_load)
async def cache_lock_with_second_look(s):
    if "k" not in s.cache:
        async with s.lock:
            if "k" not in s.cache:
                s.cache["k"] = await load(s)
    return s.cache["k"]


@case(WRONG, "the flight is cleared before the value is stored", **one_load)
async def flight_cleared_too_early(s):
    if "k" in s.cache:
        return s.cache["k"]
    if "k" in s.inflight:
        return await s.inflight["k"]
    future = s.inflight["k"] = asyncio.get_running_loop().create_future()
    value = await load(s)
    future.set_result(value)
    del s.inflight["k"]
    await io()
    s.cache["k"] = value
    return value


@case(RIGHT, "the flight is a task that stores before it is cleared", **one_load)
async def flight_as_a_task(s):
    if "k" in s.cache:
        return s.cache["k"]
    if "k" not in s.inflight:

        async def fly():
            s.cache["k"] = await load(s)
            del s.inflight["k"]
            return s.cache["k"]

        s.inflight["k"] = asyncio.create_task(fly())
    return await asyncio.shield(s.inflight["k"])
