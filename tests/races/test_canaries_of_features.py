"""One planted race for every feature of asyncio, anyio, Starlette and FastAPI: each must be found.

A feature whose suspension the explorer does not see would make it say "exhausted" for a racy service. That is
the worst thing it can do, so each feature has a canary: `n` must be 2 after two requests, and an interleaving
exists in which it is 1.
"""

import asyncio
import functools
import threading

import anyio
import pytest
from deskbook.races import explore, get, post
from race_cases.canaries import applications, locks_and_queues, middleware, python, requests, sync_code, tasks
from race_cases.canaries.register import CANARIES, app_with_n, bump

AREAS = (applications, locks_and_queues, middleware, python, requests, sync_code, tasks)


def n_is_two(app, responses):
    assert app.state.n == 2, f"two requests, but n is {app.state.n}"


@pytest.mark.parametrize("name", CANARIES)
async def test_the_planted_race_is_found(name):
    report = await explore(CANARIES[name], {"A": get("/"), "B": get("/")}, invariant=n_is_two, max_seconds=30)
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.message == "two requests, but n is 1"
    assert report.counterexample.preemptions <= 2


@pytest.mark.prove
@pytest.mark.parametrize("name", CANARIES)
async def test_the_reduction_loses_no_outcome(name):
    """A step in framework code costs the unreduced search a preemption, so it sees at most as much."""
    seen = []
    for reduce in (True, False):
        report = await explore(
            CANARIES[name],
            {"A": get("/"), "B": get("/")},
            invariant=n_is_two,
            observe=lambda app: {"n": app.state.n},
            preemption_bound=1,
            stop_at_first=False,
            collect_outcomes=True,
            reduce=reduce,
            max_seconds=120,
        )
        assert report.verdict != "inconclusive" or not reduce
        seen.append(report.outcomes)
    assert seen[0] >= seen[1]


async def test_the_planted_race_is_found_through_httpx():
    report = await explore(
        requests.plain_await, {"A": get("/"), "B": get("/")}, invariant=n_is_two, send="httpx"
    )
    assert report.counterexample.schedule == "A B2 A"


def locked_by(make_lock):
    app = app_with_n()
    lock = make_lock()

    @app.post("/")
    async def handler():
        async with lock:
            await bump(app)

    return app


@pytest.mark.parametrize(
    "make_lock", [asyncio.Lock, anyio.Lock, lambda: asyncio.Semaphore(1), asyncio.Condition]
)
async def test_a_lock_is_proven_right(make_lock):
    make = functools.partial(locked_by, make_lock)
    report = await explore(make, {"A": post("/"), "B": post("/")}, invariant=n_is_two)
    assert report.verdict == "exhausted", report


@pytest.mark.parametrize("made_inside", [True, False])
@pytest.mark.parametrize("kind", ["Lock", "RLock"])
async def test_a_thread_lock_around_a_sync_endpoint_is_proven_right(kind, made_inside):
    lock = getattr(threading, kind)()

    def make():
        app = app_with_n()
        mine = getattr(threading, kind)() if made_inside else lock

        @app.get("/")
        def handler():
            with mine:
                value = app.state.n
                app.state.n = value + 1

        return app

    def reset(app):
        app.state.n = 0

    report = await explore(
        make, {"A": get("/"), "B": get("/")}, invariant=n_is_two, reset=reset, max_seconds=60
    )
    assert report.verdict == "exhausted", report
    assert report.schedules > 100


async def test_without_an_await_nothing_can_come_in_between():
    """Taking a free `asyncio.Lock` does not suspend, so there is no race here, however it looks."""

    def make():
        app = app_with_n()
        lock = asyncio.Lock()

        @app.get("/")
        async def handler():
            async with lock:
                value = app.state.n
            async with lock:
                app.state.n = value + 1

        return app

    report = await explore(make, {"A": get("/"), "B": get("/")}, invariant=n_is_two)
    assert (report.verdict, report.schedules) == ("exhausted", 2)
