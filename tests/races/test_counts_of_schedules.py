"""The number of interleavings that are tried is the closed form: none is missed and none is run twice."""

import asyncio
import math

import pytest
from deskbook.races import explore


def waits(count):
    async def request(subject):
        for _ in range(count):
            await asyncio.sleep(0)

    return request


def closed_form(requests, awaits):
    steps = awaits + 1
    return math.factorial(requests * steps) // math.factorial(steps) ** requests


@pytest.mark.parametrize(("requests", "awaits"), [(1, 3), (2, 1), (2, 2), (2, 3), (2, 4), (3, 1), (3, 2)])
@pytest.mark.parametrize("reduce", [False, True])
async def test_every_interleaving_is_run_once(requests, awaits, reduce):
    same = waits(awaits)
    report = await explore(object, dict.fromkeys("ABC"[:requests], same), reduce=reduce)
    expected = closed_form(requests, awaits)
    assert report.verdict == "exhausted"
    assert report.schedules == report.total == expected
    assert report.runs == (expected // math.factorial(requests) if reduce else expected)


async def test_requests_of_different_length():
    report = await explore(object, {"A": waits(1), "B": waits(3)})
    assert report.schedules == math.factorial(6) // (math.factorial(2) * math.factorial(4))


# n = 2, bound 2: 6 14 26 42; n = 3, bound 2: 60 192 402. Counted by hand once, in the field notes.
@pytest.mark.parametrize(("awaits", "expected"), [(1, 6), (2, 14), (3, 26), (4, 42), (5, 62)])
async def test_two_requests_with_at_most_two_preemptions(awaits, expected):
    report = await explore(object, {"A": waits(awaits), "B": waits(awaits)}, preemption_bound=2)
    assert report.schedules == expected
    assert report.verdict == ("exhausted" if awaits == 1 else "bounded")


@pytest.mark.parametrize(("awaits", "expected"), [(1, 60), (2, 192), (3, 402)])
async def test_three_requests_with_at_most_two_preemptions(awaits, expected):
    report = await explore(object, {name: waits(awaits) for name in "ABC"}, preemption_bound=2)
    assert (report.verdict, report.schedules) == ("bounded", expected)


@pytest.mark.parametrize(("awaits", "expected"), [(1, 4), (2, 6), (3, 8), (4, 10), (7, 16)])
async def test_a_lock_leaves_few_interleavings(awaits, expected):
    def locked():
        async def request(lock):
            async with lock:
                for _ in range(awaits):
                    await asyncio.sleep(0)

        return request

    report = await explore(asyncio.Lock, {"A": locked(), "B": locked()})
    assert (report.verdict, report.schedules) == ("exhausted", expected)


@pytest.mark.prove
@pytest.mark.parametrize(("requests", "awaits"), [(2, 7), (3, 3)])
async def test_the_long_counts(requests, awaits):
    same = waits(awaits)
    report = await explore(object, dict.fromkeys("ABC"[:requests], same), reduce=False, max_seconds=120)
    assert (report.verdict, report.schedules) == ("exhausted", closed_form(requests, awaits))
