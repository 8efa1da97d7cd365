"""Code that runs out of sight: iterators, context managers, callbacks and objects that are called."""

import asyncio
from contextlib import asynccontextmanager

from deskbook.races import get, post
from fastapi import Depends, HTTPException

from race_cases.corpus.cases import RIGHT, WRONG, io
from race_cases.corpus.desks import codes, desks

CASES = []
desk = desks(CASES)


class Cursor:
    """Iterates over the rows of a desk, a round trip for each."""

    def __init__(self, rows):
        self.rows = rows
        self.at = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        await io()
        if self.at == len(self.rows):
            raise StopAsyncIteration
        self.at += 1
        return self.rows[self.at - 1]


ROWS = {"sum": get("/sum"), "drop": post("/drop")}


def summing_desk(app, rows_for_the_cursor):
    app.state.rows = [10, 20, 30]

    @app.get("/sum")
    async def total():
        found = 0
        async for row in Cursor(rows_for_the_cursor(app.state.rows)):
            found += row
        return found

    @app.post("/drop")
    async def drop():
        app.state.rows.remove(10)


@desk(
    WRONG,
    "the first row goes while the cursor stands behind it, and the next one is skipped: 40 was never the sum",
    requests=ROWS,
    check=lambda app, r: r["sum"].json() in (60, 50),
)
def cursor_over_the_living_list(app):
    summing_desk(app, lambda rows: rows)


@desk(
    RIGHT,
    "the cursor goes over the rows as they were when it was made",
    requests=ROWS,
    check=lambda app, r: r["sum"].json() in (60, 50),
)
def cursor_over_a_copy(app):
    summing_desk(app, list)


SEATS = {name: post("/seat") for name in "AB"}


@desk(
    WRONG,
    "the context manager looks on its way in, awaits, and hands out what it saw",
    requests=SEATS,
    check=lambda app, r: r["A"].json() != r["B"].json(),
)
def seat_from_a_context_manager(app):
    app.state.free = [1, 2]

    @asynccontextmanager
    async def first_free():
        seat = app.state.free[0]
        await io()
        yield seat
        if seat in app.state.free:
            app.state.free.remove(seat)

    @app.post("/seat")
    async def seat():
        async with first_free() as number:
            return number


@desk(
    WRONG,
    "the callback of the finished task counts up from a number that was read when the task was started",
    requests=SEATS,
    check=lambda app, r: app.state.sold == 2,
)
def counted_in_a_done_callback(app):
    app.state.sold = 0

    @app.post("/seat")
    async def seat():
        sold = app.state.sold
        task = asyncio.create_task(io())
        task.add_done_callback(lambda _: setattr(app.state, "sold", sold + 1))
        await task
        await io()


@desk(
    WRONG,
    "call_soon is not at once: the check is made now, and the counting down waits for its turn in the loop",
    requests=SEATS,
    check=lambda app, r: app.state.free >= 0,
)
def counted_down_by_call_soon(app):
    app.state.free = 1

    def count_down():
        app.state.free -= 1

    @app.post("/seat")
    async def seat():
        if app.state.free < 1:
            raise HTTPException(409)
        asyncio.get_running_loop().call_soon(count_down)
        await io()
        await io()


class Quota:
    """A dependency that is an object with a call of its own."""

    def __init__(self, limit):
        self.limit = limit
        self.used = 0

    async def __call__(self):
        if self.used >= self.limit:
            raise HTTPException(429)
        await io()
        self.used += 1


@desk(
    WRONG,
    "the quota is an object in Depends; it looks, awaits and counts, and it is the same object for all",
    requests={name: get("/rows") for name in "AB"},
    check=lambda app, r: codes(r) == [200, 429],
)
def quota_as_a_callable_dependency(app):
    @app.get("/rows", dependencies=[Depends(Quota(1))])
    async def rows():
        return []
