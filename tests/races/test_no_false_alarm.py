"""A right service is never called wrong: each kind of false alarm that was met, and others of its kind."""

import asyncio
import contextlib
import datetime
import random
import secrets
import threading
import time
import uuid
from types import SimpleNamespace
from unittest.mock import AsyncMock

import httpx
import pytest
from deskbook.races import explore, get, post, suspends
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse


def right(app, answers):
    return all(answer.status_code == 200 for answer in answers.values())


# Values that differ from run to run.


def ordering(draw):
    def make():
        app = FastAPI()
        app.state.count = 0

        @app.post("/order")
        async def order(request: Request):
            await request.body()
            app.state.count += 1
            return draw()

        return app

    return make


@pytest.mark.parametrize(
    "draw",
    [
        lambda: {"id": str(uuid.uuid4()), "items": [{"line": uuid.uuid4().hex}, {"line": uuid.uuid4().hex}]},
        lambda: {"token": secrets.token_urlsafe(12)},
        lambda: {"lot": random.randrange(10**6)},
        lambda: {"at": datetime.datetime.now(datetime.UTC).isoformat()},
        lambda: {"iat": int(time.time()), "exp": time.time() + 60},
        lambda: {str(uuid.uuid4()): "ready"},
        lambda: f"order {uuid.uuid4()} of {datetime.datetime.now(datetime.UTC).isoformat()}",
    ],
)
async def test_an_answer_with_a_random_number_or_a_time_is_no_race(draw):
    report = await explore(ordering(draw), dict.fromkeys("AB", post("/order")), oracle="serializable")
    assert report.verdict == "exhausted", report
    assert any("another value in every run" in note for note in report.notes)


async def test_a_number_that_counts_on_is_named_and_not_explained_away():
    numbers = iter(range(1, 10_000))
    make = ordering(lambda: {"receipt": {"number": next(numbers)}})
    report = await explore(make, dict.fromkeys("AB", post("/order")), oracle="serializable")
    assert report.verdict == "inconclusive"
    assert "A: body.receipt.number (1, then 3)" in report.covers


# I/O that was refused.


def calling(call):
    def make():
        app = FastAPI()

        @app.post("/pay")
        async def pay():
            await call()
            return "paid"

        @app.post("/note")
        async def note():
            return "noted"

        return app

    return make


async def ask_a_bank():
    async with httpx.AsyncClient() as client:
        await client.get("http://127.0.0.1:1/")


async def go_on_without_the_bank():
    with contextlib.suppress(Exception):
        await asyncio.open_connection("127.0.0.1", 1)


async def look_up_a_name():
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


@pytest.mark.parametrize("call", [ask_a_bank, go_on_without_the_bank, look_up_a_name])
@pytest.mark.parametrize("rule", [{"invariant": right}, {"oracle": "serializable"}, {}])
async def test_a_run_that_was_refused_something_is_not_judged(call, rule):
    report = await explore(calling(call), {"A": post("/pay"), "B": post("/note")}, **rule)
    assert report.verdict == "inconclusive"
    assert report.counterexample is None
    assert "NOT UNDER CONTROL: the code used loop." in report.text()


# Long work is no livelock, and what goes round is.


async def count_to_many(subject):
    for number in range(500):
        subject.n = number
        await asyncio.sleep(0)


async def walk_through_many_lines(subject):
    for name in "abcdefghij":
        setattr(subject, name, 1)
        for _ in range(40):
            await asyncio.sleep(0)


@pytest.mark.parametrize("work", [count_to_many, walk_through_many_lines])
async def test_long_work_that_was_cut_proves_nothing(work):
    report = await explore(SimpleNamespace, {"A": work}, max_steps=200)
    assert report.verdict == "inconclusive"
    assert "a run was cut after 200 steps, at A at «" in report.covers
    assert "max_steps=" in report.covers
    assert (await explore(SimpleNamespace, {"A": work}, max_steps=2_000)).verdict == "exhausted"


async def test_waiting_for_a_flag_that_nobody_sets_is_a_livelock():
    async def wait(subject):
        while not subject.flag:  # noqa: ASYNC110 - polling is what is told here
            await asyncio.sleep(0.1)

    report = await explore(lambda: SimpleNamespace(flag=False), {"A": wait, "B": wait}, max_steps=300)
    assert report.counterexample.failure.kind == "livelock"


# What repeats for ever.


def beating(started_by):
    async def beat(app):
        while True:
            await asyncio.sleep(5)
            app.state.beats += 1

    @contextlib.asynccontextmanager
    async def lifespan(app):
        task = asyncio.create_task(beat(app)) if started_by == "lifespan" else None
        yield
        if task is not None:
            task.cancel()

    def make():
        app = FastAPI(lifespan=lifespan)
        app.state.beats = 0
        app.state.task = None

        @app.post("/work")
        async def work():
            if started_by == "request" and app.state.task is None:
                app.state.task = asyncio.create_task(beat(app))
            await asyncio.sleep(0)
            return "ok"

        return app

    return make


@pytest.mark.parametrize("started_by", ["lifespan", "request"])
@pytest.mark.parametrize("rule", [{"invariant": right}, {}])
async def test_a_heartbeat_is_followed_for_some_rounds(started_by, rule):
    report = await explore(beating(started_by), dict.fromkeys("AB", post("/work")), max_seconds=30, **rule)
    assert report.verdict == "bounded", report
    assert "repeats for ever" in report.covers


# Streams without an end.


def streaming(make_events):
    def make():
        app = FastAPI()
        app.state.queues = []

        @app.get("/events")
        async def events(request: Request):
            queue = asyncio.Queue()
            app.state.queues.append(queue)
            return StreamingResponse(make_events(queue), media_type="text/event-stream")

        @app.post("/publish")
        async def publish():
            for queue in list(app.state.queues):
                queue.put_nowait("hi")
            return "ok"

        return app

    return make


async def forward(queue):
    while True:
        yield f"data: {await queue.get()}\n\n"


async def forward_with_pings(queue):
    while True:
        try:
            async with asyncio.timeout(15):
                event = await queue.get()
        except TimeoutError:
            event = "ping"
        yield f"data: {event}\n\n"


@pytest.mark.parametrize("send", ["asgi", "httpx"])
@pytest.mark.parametrize("events", [forward, forward_with_pings])
async def test_a_stream_that_never_ends_is_left_when_nothing_else_can_happen(events, send):
    both = {"A": get("/events"), "B": post("/publish")}
    report = await explore(streaming(events), both, send=send, max_seconds=30)
    assert report.verdict == "bounded", report


# A thread of the service's own.


@pytest.mark.parametrize("daemon_of", ["make_app", "import"])
async def test_a_thread_that_runs_beside_is_named(daemon_of):
    stop = threading.Event()

    def janitor():
        stop.wait(30)

    def make():
        if daemon_of == "make_app" or not any(thread.name == "janitor" for thread in threading.enumerate()):
            threading.Thread(target=janitor, name="janitor", daemon=True).start()
        return beating("nobody")()

    if daemon_of == "import":
        threading.Thread(target=janitor, name="janitor", daemon=True).start()
    try:
        report = await explore(make, dict.fromkeys("AB", post("/work")))
    finally:
        stop.set()
    assert report.verdict == "inconclusive"
    assert "janitor ran beside the requests" in report.text()


# What fails without any concurrency.


async def test_what_fails_in_sequence_is_not_called_a_race():
    def make():
        app = FastAPI()

        @app.post("/broken")
        async def broken():
            await asyncio.sleep(0)
            raise KeyError("SECRET")

        return app

    report = await explore(make, dict.fromkeys("AB", post("/broken")), invariant=right)
    assert report.verdict == "counterexample"
    assert report.fails_in_sequence
    assert report.summary().startswith("counterexample without any concurrency")


# Functions as requests.


async def test_a_function_finds_the_application_started():
    @contextlib.asynccontextmanager
    async def lifespan(app):
        app.state.pool = "pool"
        yield {"settings": "settings"}

    def make():
        app = FastAPI(lifespan=lifespan)

        @app.get("/")
        async def root(request: Request):
            return [request.app.state.pool, request.state.settings]

        return app

    async def visit(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk") as client:
            return (await client.get("/")).json()

    def started(app, answers):
        return set(map(tuple, answers.values())) == {("pool", "settings")}

    report = await explore(make, {"A": visit, "B": visit}, invariant=started)
    assert report.verdict == "exhausted"


# Stubs.


class Shelf:
    """A repository for tests, which never waits."""

    def __init__(self):
        self.taken = set()

    async def find(self, name):
        return name in self.taken

    async def save(self, name):
        self.taken.add(name)


class InMemoryShelf(Shelf):
    """The same, and it says so."""


def buying(make_shelf):
    def make():
        app = FastAPI()
        shelf = make_shelf()

        @app.post("/buy")
        async def buy():
            if await shelf.find("a"):
                return "sold out"
            await shelf.save("a")
            return "sold"

        return app

    return make


@pytest.mark.parametrize(
    ("make_shelf", "verdict"),
    [
        (InMemoryShelf, "bounded"),
        (lambda: suspends(InMemoryShelf()), "counterexample"),
        (lambda: SimpleNamespace(find=AsyncMock(return_value=False), save=AsyncMock()), "counterexample"),
    ],
)
async def test_a_stub_that_answers_at_once_proves_nothing(make_shelf, verdict):
    def sold_once(app, answers):
        return [answer.json() for answer in answers.values()].count("sold") == 1

    report = await explore(buying(make_shelf), dict.fromkeys("AB", post("/buy")), invariant=sold_once)
    assert report.verdict == verdict, report
    if verdict == "bounded":
        assert "nobody else could run at" in report.text()
        assert "«buy: if await shelf.find" in report.text()


# Failures around the requests, and budgets.


def failing_lifespan():
    @contextlib.asynccontextmanager
    async def lifespan(app):
        raise OSError("no route to the database")
        yield

    return FastAPI(lifespan=lifespan)


async def connects():
    await asyncio.open_connection("127.0.0.1", 1)


def no_settings():
    raise KeyError("DATABASE_URL")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: None, "returned None, which is no ASGI application"),
        (lambda: SimpleNamespace(), "returned SimpleNamespace"),
        (no_settings, 'make_app failed at «no_settings: raise KeyError("DATABASE_URL")»: KeyError'),
        (failing_lifespan, "no route to the database"),
        (connects, "make_app failed at «connects: await asyncio.open_connection"),
    ],
)
async def test_what_fails_around_the_requests_is_a_sentence(make, sentence):
    report = await explore(make, dict.fromkeys("AB", get("/")))
    assert report.verdict == "inconclusive"
    assert sentence in report.covers


async def test_a_budget_of_schedules_is_kept():
    runs = []

    async def request(subject):
        for _ in range(4):
            await asyncio.sleep(0)

    def make():
        runs.append(1)
        return object()

    report = await explore(make, {"A": request, "B": request}, max_schedules=4)
    assert report.verdict == "inconclusive"
    # Before and after it the requests run alone and in order; as many again are random ones.
    assert len(runs) <= 4 + 4 + 7


def block_for_ever(place):
    lock = threading.Lock()
    lock.acquire()

    def make():
        if place == "make_app":
            lock.acquire()
        app = FastAPI()

        @app.post("/work")
        async def work():
            if place == "request":
                lock.acquire()
            return "ok"

        return app

    return make


@pytest.mark.parametrize("place", ["make_app", "request"])
def test_a_budget_of_time_is_kept_although_the_code_never_comes_back(place, monkeypatch):
    from deskbook.races import explore_sync
    from deskbook.races._search import watchdog

    monkeypatch.setattr(watchdog, "GRACE_S", 0.3)
    began = time.perf_counter()
    report = explore_sync(block_for_ever(place), dict.fromkeys("AB", post("/work")), max_seconds=0.5)
    assert report.verdict == "inconclusive"
    assert "lock.acquire()" in report.covers
    assert time.perf_counter() - began < 30
