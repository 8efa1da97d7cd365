"""Sync endpoints in threads: what counts as a step, and that no thread is left."""

import threading

from deskbook.races import explore, get
from fastapi import FastAPI
from race_cases.corpus.racy_app import BOTH, n_is_two


async def test_threads_lines_of_a_lock_itself_are_no_steps():
    """The first stepper traced the lines of the lock: a false alarm."""

    def make():
        app = FastAPI()
        app.state.n = 0
        lock = threading.Lock()

        @app.get("/")
        def handler():
            with lock:
                value = app.state.n
                app.state.n = value + 1

        return app

    report = await explore(make, BOTH, invariant=n_is_two, preemption_bound=2, max_seconds=20)
    assert report.verdict == "bounded"


async def test_no_thread_is_left():
    def make():
        app = FastAPI()

        @app.get("/")
        def handler():
            return {}

        return app

    before = threading.active_count()
    await explore(make, BOTH)
    assert threading.active_count() <= before


async def test_threads_that_deadlock_are_a_verdict_and_end():
    def make():
        app = FastAPI()
        x, y = threading.Lock(), threading.Lock()

        def take(first, second):
            def handler():
                with first:  # noqa: SIM117 - two lines, so that another thread can run in between
                    with second:
                        pass

            return handler

        app.get("/one")(take(x, y))
        app.get("/other")(take(y, x))
        return app

    report = await explore(make, {"A": get("/one"), "B": get("/other")}, max_seconds=20)
    assert report.counterexample.failure.kind == "deadlock"
