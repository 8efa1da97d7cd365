"""Queues, events and locks for threads, and what they are worth beside a loop."""

import queue
import threading

from deskbook.races import get, post
from fastapi import HTTPException

from race_cases.corpus.cases import RIGHT, WRONG, io
from race_cases.corpus.desks import codes, desks

CASES = []
desk = desks(CASES)


@desk(
    WRONG,
    "the queue is looked at in one line and drawn from in the next: the second thread finds it empty",
    requests={name: post("/next") for name in "AB"},
    check=lambda app, r: codes(r) == [200, 204],
)
def thread_queue_looked_at_first(app):
    waiting = queue.Queue()
    waiting.put("anna")

    @app.post("/next")
    def call_next():
        if waiting.empty():
            raise HTTPException(204)
        return waiting.get_nowait()


@desk(
    RIGHT,
    "get_nowait looks and draws under the queue's own lock, and an empty queue is an answer",
    requests={name: post("/next") for name in "AB"},
    check=lambda app, r: codes(r) == [200, 404],
)
def thread_queue_that_may_be_empty(app):
    waiting = queue.SimpleQueue()
    waiting.put("anna")

    @app.post("/next")
    def call_next():
        try:
            return waiting.get_nowait()
        except queue.Empty:
            raise HTTPException(404) from None


@desk(
    WRONG,
    "an RLock is the property of a thread, and all coroutines of the loop are one thread: both go in",
    requests={name: post("/add") for name in "AB"},
    check=lambda app, r: app.state.total == 2,
)
def thread_rlock_in_the_loop(app):
    app.state.total = 0
    lock = threading.RLock()

    @app.post("/add")
    async def add():
        with lock:
            total = app.state.total
            await io()
            app.state.total = total + 1


@desk(
    WRONG,
    "the event is set before the value that it announces",
    requests={"get": get("/value"), "set": post("/value")},
    check=lambda app, r: r["get"].json() in ("later", "ready"),
)
def thread_event_set_too_early(app):
    app.state.value = None
    there = threading.Event()

    @app.get("/value")
    def value():
        return app.state.value if there.is_set() else "later"

    @app.post("/value")
    def put():
        there.set()
        app.state.value = "ready"


@desk(
    RIGHT,
    "the value is there before the event that announces it",
    requests={"get": get("/value"), "set": post("/value")},
    check=lambda app, r: r["get"].json() in ("later", "ready"),
)
def thread_event_set_last(app):
    app.state.value = None
    there = threading.Event()

    @app.get("/value")
    def value():
        return app.state.value if there.is_set() else "later"

    @app.post("/value")
    def put():
        app.state.value = "ready"
        there.set()
