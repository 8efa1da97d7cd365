"""Endpoints with def: they run in threads, where a switch needs no await."""

import asyncio
import itertools
import threading

from deskbook.races import get, post
from fastapi import Depends, HTTPException

from race_cases.corpus.cases import RIGHT, WRONG
from race_cases.corpus.desks import accepted, codes, desks

CASES = []
desk = desks(CASES)
REDEEM = {"A": post("/redeem"), "B": post("/redeem")}


def one_redeemed(app, r):
    return codes(r) == [200, 409]


@desk(
    WRONG,
    "look and entry are two lines, and a thread can be stopped between them without any await",
    requests=REDEEM,
    check=one_redeemed,
)
def coupon_moved_from_async_def_to_def(app):
    app.state.used = set()

    @app.post("/redeem")
    def redeem():
        if "WELCOME" in app.state.used:
            raise HTTPException(409)
        app.state.used.add("WELCOME")


@desk(RIGHT, "a lock for threads holds the two lines together", requests=REDEEM, check=one_redeemed)
def coupon_under_a_lock_for_threads(app):
    app.state.used = set()
    deciding = threading.Lock()

    @app.post("/redeem")
    def redeem():
        with deciding:
            if "WELCOME" in app.state.used:
                raise HTTPException(409)
            app.state.used.add("WELCOME")


@desk(
    RIGHT,
    "setdefault on a dict with text keys is one step for threads too, and tells who was first",
    requests={name: post("/redeem", params={"who": name}) for name in "AB"},
    check=one_redeemed,
)
def coupon_claimed_by_setdefault(app):
    app.state.owner = {}

    @app.post("/redeem")
    def redeem(who: str):
        if app.state.owner.setdefault("WELCOME", who) != who:
            raise HTTPException(409)


@desk(
    WRONG,
    "the async handler awaits nothing, but the def handler of the same desk is stopped between two lines",
    requests={"A": post("/async"), "T": post("/thread")},
    check=one_redeemed,
)
def async_handler_beside_a_thread(app):
    app.state.left = 1
    lock = threading.Lock()

    @app.post("/thread")
    def in_a_thread():
        with lock:
            if app.state.left < 1:
                raise HTTPException(409)
            app.state.left -= 1

    @app.post("/async")
    async def in_the_loop():
        if app.state.left < 1:
            raise HTTPException(409)
        app.state.left -= 1


@desk(
    WRONG,
    "the table is there for the others as soon as it is assigned, and it is filled after that",
    requests={"A": get("/rate"), "B": get("/rate")},
    check=lambda app, r: accepted(r) == ["A", "B"],
)
def table_published_before_it_is_full(app):
    app.state.rates = None

    @app.get("/rate")
    def rate():
        if app.state.rates is None:
            app.state.rates = {}
            app.state.rates["EUR"] = 1.1
        if "EUR" not in app.state.rates:
            raise HTTPException(500)


@desk(
    RIGHT,
    "two may make a table of their own, but each publishes it whole, in one store",
    requests={"A": get("/rate"), "B": get("/rate")},
    check=lambda app, r: accepted(r) == ["A", "B"],
)
def table_published_when_it_is_full(app):
    app.state.rates = None

    @app.get("/rate")
    def rate():
        if app.state.rates is None:
            app.state.rates = {"EUR": 1.1}
        if "EUR" not in app.state.rates:
            raise HTTPException(500)


@desk(
    WRONG,
    "the counter goes up in one line and is read in the next, where it can be that of the other",
    requests={"A": post("/orders"), "B": post("/orders")},
    check=lambda app, r: r["A"].json() != r["B"].json(),
)
def number_read_in_the_next_line(app):
    app.state.last = 0
    lock = threading.Lock()

    @app.post("/orders")
    def order():
        with lock:
            app.state.last += 1
        return app.state.last


@desk(
    RIGHT,
    "next() of a count is one step in C and returns the number that nobody else gets",
    requests={"A": post("/orders"), "B": post("/orders")},
    check=lambda app, r: r["A"].json() != r["B"].json(),
)
def number_from_a_count_in_threads(app):
    numbers = itertools.count(1)

    @app.post("/orders")
    def order():
        return next(numbers)


@desk(
    WRONG,
    "one thread holds till and waits for safe, the other holds safe and waits for till: deadlock",
    requests={"A": post("/to-safe"), "B": post("/to-till")},
    check=None,
)
def thread_locks_in_two_orders(app):
    app.state.till, app.state.safe = 10, 10
    till, safe = threading.Lock(), threading.Lock()

    @app.post("/to-safe")
    def to_safe():
        with till:
            app.state.till -= 1
            with safe:
                app.state.safe += 1

    @app.post("/to-till")
    def to_till():
        with safe:
            app.state.safe -= 1
            with till:
                app.state.till += 1


@desk(
    WRONG,
    "the dependency and the endpoint each borrow a thread from the pool; the other request used it between",
    requests={name: get("/me", params={"user": name}) for name in "AB"},
    check=lambda app, r: accepted(r) == ["A", "B"] and all(r[name].json() == name for name in "AB"),
)
def user_in_a_thread_local(app):
    local = threading.local()

    def remember(user: str):
        local.user = user

    @app.get("/me", dependencies=[Depends(remember)])
    def me():
        return getattr(local, "user", None)


@desk(
    WRONG,
    "the read and the write of the balance go through two threads of one async handler",
    requests={"A": post("/add"), "B": post("/add")},
    check=lambda app, r: app.state.total == 2,
)
def total_through_two_threads(app):
    app.state.total = 0

    def read():
        return app.state.total

    def write(total):
        app.state.total = total

    @app.post("/add")
    async def add():
        total = await asyncio.to_thread(read)
        await asyncio.to_thread(write, total + 1)


@desk(
    RIGHT,
    "an asyncio lock around both trips to the thread lets one handler at a time through",
    requests={"A": post("/add"), "B": post("/add")},
    check=lambda app, r: app.state.total == 2,
)
def total_through_two_threads_under_a_lock(app):
    app.state.total = 0
    lock = asyncio.Lock()

    def read():
        return app.state.total

    def write(total):
        app.state.total = total

    @app.post("/add")
    async def add():
        async with lock:
            total = await asyncio.to_thread(read)
            await asyncio.to_thread(write, total + 1)
