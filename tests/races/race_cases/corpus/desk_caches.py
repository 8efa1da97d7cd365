"""Desks that remember: late fills, generations, write-through and one load for many."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def shelf():
    return SimpleNamespace(
        row="old", cache={}, generation=0, loads=0, loading=0, peak=0, pending={}, failures=0
    )


def cache_is_true(s, r):
    return s.cache.get("tea", s.row) == s.row


async def load(s):
    """Read the row; it is as old as the moment in the middle of the round trip."""
    await io()
    row = s.row
    await io()
    return row


async def change_then_bump(s):
    await io()
    s.row = "new"
    s.generation += 1
    s.cache.pop("tea", None)


async def generation_noted_after_the_load(s):
    row = await load(s)
    generation = s.generation
    await io()
    if generation == s.generation:
        s.cache["tea"] = row


async def generation_noted_before_the_load(s):
    generation = s.generation
    row = await load(s)
    if generation == s.generation:
        s.cache["tea"] = row


case(
    WRONG,
    "the generation is noted when the old row is in hand already, so the late fill looks fresh",
    make=shelf,
    check=cache_is_true,
    requests={"reader": generation_noted_after_the_load, "writer": change_then_bump},
)(generation_noted_after_the_load)

case(
    RIGHT,
    "a change after the load began moves the generation, and the row is then not kept",
    make=shelf,
    check=cache_is_true,
    requests={"reader": generation_noted_before_the_load, "writer": change_then_bump},
)(generation_noted_before_the_load)


async def emptied_before_the_write(s):
    s.cache.pop("tea", None)
    s.generation += 1
    await io()
    s.row = "new"


case(
    WRONG,
    "the cache is emptied before the row changes: the new generation is noted beside the old row",
    make=shelf,
    check=cache_is_true,
    requests={"reader": generation_noted_before_the_load, "writer": emptied_before_the_write},
)(emptied_before_the_write)


def write_through(value):
    async def write(s):
        await io()
        s.row = value
        await io()
        s.cache["tea"] = value

    return write


case(
    WRONG,
    "row and cache are written in two round trips, and two writers can be in another order in each",
    make=shelf,
    check=cache_is_true,
    requests={"A": write_through("green"), "B": write_through("black")},
)(write_through)


async def reader_fills_only_a_gap(s):
    row = await load(s)
    s.cache.setdefault("tea", row)


async def reader_overwrites(s):
    if "tea" not in s.cache:
        s.cache["tea"] = await load(s)


case(
    RIGHT,
    "the one writer overwrites and a reader only fills a gap, so an old row never replaces the new one",
    make=shelf,
    check=cache_is_true,
    requests={"reader": reader_fills_only_a_gap, "writer": write_through("new")},
)(reader_fills_only_a_gap)

case(
    WRONG,
    "the gap is looked for before the load, and the writer has filled it when the old row arrives",
    make=shelf,
    check=cache_is_true,
    requests={"reader": reader_overwrites, "writer": write_through("new")},
)(reader_overwrites)


def full_shelf():
    s = shelf()
    s.cache["tea"] = "old"
    return s


async def evict(s):
    await io()
    s.cache.popitem()


async def hit_read_twice(s):
    if "tea" in s.cache:
        await io()
        return s.cache["tea"]
    return await load(s)


async def hit_read_once(s):
    row = s.cache.get("tea")
    await io()
    return row if row is not None else await load(s)


case(
    WRONG,
    "the hit is evicted between the look and the read: KeyError",
    make=full_shelf,
    check=None,
    requests={"reader": hit_read_twice, "evict": evict},
)(hit_read_twice)

case(
    RIGHT,
    "one read gives the row or nothing, and what happens to the cache later is no matter",
    make=full_shelf,
    check=lambda s, r: r["reader"] == "old",
    requests={"reader": hit_read_once, "evict": evict},
)(hit_read_once)


async def counted_load(s):
    s.loading += 1
    s.peak = max(s.peak, s.loading)
    await io()
    s.loading -= 1
    return s.row


async def single_flight_cleared_by_all(s):
    if "tea" not in s.pending:
        s.pending["tea"] = asyncio.create_task(counted_load(s))
    try:
        return await s.pending["tea"]
    finally:
        s.pending.pop("tea", None)


async def single_flight_cleared_by_its_own(s):
    task = s.pending.get("tea")
    if task is None:
        task = s.pending["tea"] = asyncio.create_task(counted_load(s))
    try:
        return await task
    finally:
        if s.pending.get("tea") is task:
            del s.pending["tea"]


case(
    WRONG,
    "a waiter that wakes late removes the flight of the next one, and a third load starts beside it",
    make=shelf,
    check=lambda s, r: s.peak <= 1,
    requests=dict.fromkeys("ABCD", single_flight_cleared_by_all),
)(single_flight_cleared_by_all)

case(
    RIGHT,
    "a waiter removes only the flight it waited for, so never do two run at once",
    make=shelf,
    check=lambda s, r: s.peak <= 1 and set(r.values()) == {"old"},
    requests=dict.fromkeys("AB", single_flight_cleared_by_its_own),
)(single_flight_cleared_by_its_own)


async def flight_awaited_bare(s):
    if "tea" not in s.pending:
        s.pending["tea"] = asyncio.create_task(counted_load(s))
    return await s.pending["tea"]


async def flight_awaited_behind_a_shield(s):
    if "tea" not in s.pending:
        s.pending["tea"] = asyncio.create_task(counted_load(s))
    return await asyncio.shield(s.pending["tea"])


case(
    WRONG,
    "to cancel one waiter is to cancel the task that all of them wait for",
    make=shelf,
    check=lambda s, r: r["B"] == "old",
    requests={"A": flight_awaited_bare, "B": flight_awaited_bare},
    cancel=("A",),
)(flight_awaited_bare)

case(
    RIGHT,
    "the shield takes the cancellation of one waiter, and the load goes on for the other",
    make=shelf,
    check=lambda s, r: r["B"] == "old",
    requests={"A": flight_awaited_behind_a_shield, "B": flight_awaited_behind_a_shield},
    cancel=("A",),
)(flight_awaited_behind_a_shield)


async def first_load_fails(s):
    await io()
    s.failures += 1
    if s.failures == 1:
        raise ConnectionError("the shop's database is away")
    return s.row


async def failure_cleared_by_both(s):
    if "tea" not in s.pending:
        s.pending["tea"] = asyncio.create_task(first_load_fails(s))
    try:
        return await asyncio.shield(s.pending["tea"])
    except ConnectionError:
        if s.pending["tea"].done():
            del s.pending["tea"]
        return "try again"


case(
    WRONG,
    "both waiters clear away the failed flight, and the second finds nothing to clear: KeyError",
    make=shelf,
    check=lambda s, r: all(isinstance(answer, str) for answer in r.values()),
    requests={"A": failure_cleared_by_both, "B": failure_cleared_by_both},
)(failure_cleared_by_both)
