"""Money moves between two accounts, while somebody looks at their sum."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def two_accounts():
    return SimpleNamespace(balance={"x": 100, "y": 100}, locks={"x": asyncio.Lock(), "y": asyncio.Lock()})


def sum_is_kept(subject, results):
    assert sum(subject.balance.values()) == 200, subject.balance


def transfer(first, second, source, target):
    async def move(s):
        async with s.locks[first]:
            await io()
            async with s.locks[second]:
                s.balance[source] -= 10
                await io()
                s.balance[target] += 10

    return move


@case(
    WRONG,
    "each takes the lock that the other one waits for",
    make=two_accounts,
    check=sum_is_kept,
    requests={"A": transfer("x", "y", "x", "y"), "B": transfer("y", "x", "y", "x")},
)
async def locks_in_opposite_order(s):
    raise AssertionError("this function only gives the case its name")


@case(
    RIGHT,
    "both take the locks in the same order",
    make=two_accounts,
    check=sum_is_kept,
    requests={"A": transfer("x", "y", "x", "y"), "B": transfer("x", "y", "y", "x")},
)
async def locks_in_one_order(s):
    raise AssertionError("this function only gives the case its name")


async def look_at_the_sum(s):
    x = s.balance["x"]
    await io()
    return x + s.balance["y"]


async def look_at_the_sum_locked(s):
    async with s.locks["x"], s.locks["y"]:
        return await look_at_the_sum(s)


def sum_is_seen(subject, results):
    assert results["B"] == 200, f"the reader saw {results['B']} instead of 200"


@case(
    WRONG,
    "only writers lock, so a reader sees money that is on its way",
    make=two_accounts,
    check=sum_is_seen,
    requests={"A": transfer("x", "y", "x", "y"), "B": look_at_the_sum},
)
async def reader_without_the_lock(s):
    raise AssertionError("this function only gives the case its name")


@case(
    RIGHT,
    "the reader takes the same locks",
    make=two_accounts,
    check=sum_is_seen,
    requests={"A": transfer("x", "y", "x", "y"), "B": look_at_the_sum_locked},
)
async def reader_with_the_lock(s):
    raise AssertionError("this function only gives the case its name")
