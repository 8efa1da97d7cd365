"""Places, queues and jobs of which there are only so many."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def room():
    return SimpleNamespace(seats=1, taken=[], queue=asyncio.Queue(maxsize=1), lock=asyncio.Lock())


@case(WRONG, "the seat is counted down after an await", make=room, check=lambda s, r: len(s.taken) <= 1)
async def seat_counted_too_late(s):
    if s.seats > 0:
        await io()
        s.seats -= 1
        s.taken.append(1)


@case(
    RIGHT,
    "the seat is counted down at once and given back on failure",
    make=room,
    check=lambda s, r: len(s.taken) <= 1,
)
async def seat_counted_at_once(s):
    if s.seats > 0:
        s.seats -= 1
        await io()
        s.taken.append(1)


@case(WRONG, "the queue fills up between full() and put_nowait()", make=room, check=None)
async def queue_looked_at_first(s):
    if not s.queue.full():
        await io()
        s.queue.put_nowait(1)


@case(
    RIGHT,
    "a full queue is an answer, not a surprise",
    make=room,
    check=lambda s, r: sorted(r.values()) == [False, True],
)
async def queue_that_may_refuse(s):
    await io()
    try:
        s.queue.put_nowait(1)
    except asyncio.QueueFull:
        return False
    return True


@case(
    WRONG,
    "the index is stale after the await",
    make=lambda: SimpleNamespace(jobs=[1, 2], done=[]),
    check=lambda s, r: sorted(s.done) == [1, 2],
)
async def job_taken_by_index(s):
    job = s.jobs[0]
    await io()
    s.jobs.pop(0)
    s.done.append(job)


@case(
    RIGHT,
    "pop takes and removes at once",
    make=lambda: SimpleNamespace(jobs=[1, 2], done=[]),
    check=lambda s, r: sorted(s.done) == [1, 2],
)
async def job_taken_by_pop(s):
    job = s.jobs.pop(0)
    await io()
    s.done.append(job)
