"""A race is never called proven absent: each kind of false proof that was met, and others of its kind."""

import asyncio
import contextlib
import secrets
import threading
import uuid
from types import SimpleNamespace

import pytest
from deskbook.races import can_overlap, explore, get, post
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPBearer

# One after the other means that the next one has not begun.


async def timeout_around_a_pause():
    async with asyncio.timeout(5):
        await asyncio.sleep(0.02)


async def pause_of_a_callback():
    later = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.5, later.set_result, None)
    await later


async def wait_for_a_pause():
    await asyncio.wait_for(asyncio.sleep(0.01), 3)


def seats(wait):
    app = FastAPI()
    app.state.taken = {}

    @app.post("/seats/{seat}")
    async def take(seat: str):
        if seat in app.state.taken:
            raise HTTPException(409)
        await wait()
        app.state.taken[seat] = len(app.state.taken) + 1
        return {"number": app.state.taken[seat]}

    return app


@pytest.mark.parametrize("wait", [timeout_around_a_pause, pause_of_a_callback, wait_for_a_pause])
async def test_a_request_that_waits_for_the_clock_is_not_overtaken_in_a_sequential_order(wait):
    both = dict.fromkeys("AB", post("/seats/a"))
    report = await explore(lambda: seats(wait), both, oracle="serializable")
    assert report.verdict == "counterexample"
    assert report.counterexample.failure.kind == "not serializable"
    assert not report.fails_in_sequence


def seats_by_a_worker(makes_it_safe):
    """A worker of the application does the work; the request waits for its answer."""

    @contextlib.asynccontextmanager
    async def lifespan(app):
        app.state.jobs = asyncio.Queue()

        async def serve():
            while True:
                seat, done = await app.state.jobs.get()
                await asyncio.sleep(0.01)
                app.state.taken[seat] = app.state.taken.get(seat, 0) + 1
                done.set_result(app.state.taken[seat])

        worker = asyncio.create_task(serve())
        yield
        worker.cancel()

    app = FastAPI(lifespan=lifespan)
    app.state.taken = {}
    lock = asyncio.Lock()

    @app.post("/seats/{seat}")
    async def take(seat: str):
        async with lock if makes_it_safe else contextlib.nullcontext():
            if seat in app.state.taken:
                raise HTTPException(409)
            done = asyncio.get_running_loop().create_future()
            await app.state.jobs.put((seat, done))
            return await done

    return app


@pytest.mark.parametrize(("is_safe", "verdict"), [(False, "counterexample"), (True, "exhausted")])
async def test_a_request_that_waits_for_a_worker_is_not_overtaken_either(is_safe, verdict):
    both = dict.fromkeys("AB", post("/seats/a"))
    report = await explore(lambda: seats_by_a_worker(is_safe), both, oracle="serializable")
    assert report.verdict == verdict, report


async def test_two_that_wait_for_each_other_still_have_an_order():
    def make():
        app = FastAPI()
        queue = asyncio.Queue()

        @app.get("/take")
        async def take():
            return await queue.get()

        @app.post("/put")
        async def put():
            await queue.put("x")
            return "ok"

        return app

    report = await explore(make, {"A": get("/take"), "B": post("/put")}, oracle="serializable")
    assert report.verdict == "exhausted"


# Nothing ran.


def shop():
    app = FastAPI()
    app.state.sold = 0

    @app.post("/buy/{amount}")
    async def buy(amount: int):
        before = app.state.sold
        await asyncio.sleep(0)
        app.state.sold = before + amount
        return "ok"

    @app.post("/secret", dependencies=[Depends(HTTPBearer())])
    async def secret():
        return "ok"

    @app.post("/broken")
    async def broken():
        raise RuntimeError("no database")

    return app


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (post("/by/1"), "404 Not Found"),
        (get("/buy/1"), "405 Method Not Allowed"),
        (post("/buy/one"), "422"),
        (post("/secret"), "401 Unauthorized"),
        (post("/broken"), "RuntimeError: no database"),
    ],
)
@pytest.mark.parametrize("names", ["AB", "ABC"])
async def test_requests_that_never_reach_the_service_prove_nothing(request_, reason, names):
    report = await explore(shop, dict.fromkeys(names, request_), oracle="serializable")
    assert report.verdict == "inconclusive"
    assert reason in report.covers
    assert "no request was accepted" in report.covers


async def test_a_request_that_is_alone_because_the_other_one_is_refused_proves_nothing():
    report = await explore(shop, {"A": post("/buy/1"), "B": post("/bye/1")}, oracle="serializable")
    assert report.verdict == "inconclusive"
    assert "nothing to race with: B was answered 404 Not Found" in report.covers


async def test_a_refusal_beside_a_rule_of_ones_own_is_said_first():
    both = {"A": post("/buy/1"), "B": post("/bye/1")}
    report = await explore(shop, both, invariant=lambda app, answers: app.state.sold == 1)
    assert report.verdict == "exhausted"
    assert report.notes[0] == "B was answered 404 Not Found in every run"


async def test_an_order_that_is_refused_once_is_no_reason_for_doubt():
    report = await explore(
        lambda: seats(lambda: asyncio.Lock().acquire()),
        dict.fromkeys("AB", post("/seats/a")),
        oracle="serializable",
    )
    assert report.verdict == "exhausted"


# State that outlives a run.


def with_memory(memory, answer):
    def make():
        app = FastAPI()

        @app.post("/visit")
        async def visit():
            await asyncio.sleep(0)
            return answer(memory)

        return app

    return make


def refuse_the_third(memory):
    memory.append(1)
    if len(memory) > 2:
        raise HTTPException(429)
    return "welcome"


def tell_whether_it_is_new(memory):
    memory.append(1)
    return {"is_new": len(memory) <= 2}


def tell_what_is_left(memory):
    memory.append(1)
    return {"left": 1_000 - len(memory)}


@pytest.mark.parametrize("answer", [refuse_the_third, tell_whether_it_is_new, tell_what_is_left])
@pytest.mark.parametrize("rule", [{"oracle": "serializable"}, {"invariant": lambda app, answers: True}, {}])
async def test_what_one_run_leaves_behind_for_the_next_is_noticed(answer, rule):
    report = await explore(with_memory([], answer), dict.fromkeys("AB", post("/visit")), **rule)
    assert report.verdict == "inconclusive"
    assert "the same schedule gave another answer the second time" in report.covers
    assert "reset=" in report.covers


async def test_what_a_run_leaves_behind_is_noticed_after_the_search_too():
    def refuse_late(memory):
        memory.append(1)
        if len(memory) > 30:
            raise HTTPException(429)
        return "welcome"

    report = await explore(with_memory([], refuse_late), dict.fromkeys("ABC", post("/visit")))
    assert report.verdict == "inconclusive"
    assert "after the search the same schedule gave another answer" in report.covers


async def test_a_reset_puts_it_back():
    memory = []
    report = await explore(
        with_memory(memory, refuse_the_third),
        dict.fromkeys("AB", post("/visit")),
        oracle="serializable",
        reset=memory.clear,
    )
    assert report.verdict == "exhausted"


# Headers belong to an answer.


def tagging(right):
    app = FastAPI()
    last = SimpleNamespace(user="")

    @app.get("/me")
    async def me(request: Request, response: Response):
        user = last.user = request.headers["x-user"]
        await asyncio.sleep(0)
        response.set_cookie("user", user if right else last.user)
        return "ok"

    @app.get("/version")
    async def version(request: Request, response: Response):
        user = last.user = request.headers["x-user"]
        await asyncio.sleep(0)
        response.headers["etag"] = f'"{user if right else last.user}"'
        return "ok"

    return app


@pytest.mark.parametrize("path", ["/me", "/version"])
@pytest.mark.parametrize(("right", "verdict"), [(False, "counterexample"), (True, "exhausted")])
async def test_a_header_of_another_user_is_a_race(path, right, verdict):
    both = {name: get(path, headers={"x-user": name}) for name in "AB"}
    report = await explore(lambda: tagging(right), both, oracle="serializable")
    assert report.verdict == verdict, report


# A lock of the module threading that is held across an await.


def frozen_by_a_lock(swallow):
    app = FastAPI()
    lock = threading.Lock()

    @app.post("/work")
    async def work():
        try:
            with lock:
                await asyncio.sleep(0)
        except Exception:
            if not swallow:
                raise
        return "ok"

    return app


@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.parametrize("rule", [{"oracle": "serializable"}, {"invariant": lambda app, answers: True}, {}])
async def test_a_loop_that_a_lock_stops_fails_under_every_rule(swallow, rule):
    both = dict.fromkeys("AB", post("/work"))
    report = await explore(lambda: frozen_by_a_lock(swallow), both, **rule)
    assert report.verdict == "counterexample"
    assert report.counterexample.failure.kind == "blocked loop"


async def test_a_lock_that_is_free_again_before_the_await_is_right():
    def make():
        app = FastAPI()
        lock = threading.RLock()

        @app.post("/work")
        async def work():
            with lock:
                app.state.n = 1
            await asyncio.sleep(0)
            return "ok"

        return app

    assert (await explore(make, dict.fromkeys("AB", post("/work")))).verdict == "exhausted"


# Equal values that should differ are a race, although they are another one in every run.


@pytest.mark.parametrize("draw", [uuid.uuid4, secrets.token_urlsafe])
@pytest.mark.parametrize(("right", "verdict"), [(False, "counterexample"), (True, "exhausted")])
async def test_one_and_the_same_ticket_for_two_is_a_race(draw, right, verdict):
    def make():
        app = FastAPI()
        drawn = SimpleNamespace(ticket=None)

        @app.post("/ticket")
        async def ticket():
            mine = drawn.ticket = str(draw())
            await asyncio.sleep(0)
            return {"ticket": mine if right else drawn.ticket}

        return app

    report = await explore(make, dict.fromkeys("AB", post("/ticket")), oracle="serializable")
    assert report.verdict == verdict, report
    assert any("ticket: another value in every run" in note for note in report.notes)


# Requests that crash do not overlap.


def accounts(lock_of):
    app = FastAPI()

    @app.post("/accounts/{name}")
    async def pay(name: str):
        async with lock_of(name):
            await asyncio.sleep(0)
        return "ok"

    return app


class RefusesTwo:
    """A lock that refuses the second one instead of letting it wait."""

    def __init__(self, error):
        self.error, self.is_held = error, False

    async def __aenter__(self):
        if self.is_held:
            raise self.error
        self.is_held = True

    async def __aexit__(self, *exc_info):
        self.is_held = False


@pytest.mark.parametrize("error", [RuntimeError("bound to another loop"), HTTPException(503)])
def test_a_request_that_fails_while_another_stands_does_not_overlap_with_it(error):
    def make():
        lock = RefusesTwo(error)
        return accounts(lambda name: lock)

    overlap = can_overlap(make, {"A": post("/accounts/a"), "B": post("/accounts/b")})
    assert not overlap
    assert "fails: 50" in overlap.text()


def test_a_lock_an_account_overlaps():
    def make():
        locks = {name: asyncio.Lock() for name in "ab"}
        return accounts(locks.__getitem__)

    assert can_overlap(make, {"A": post("/accounts/a"), "B": post("/accounts/b")})
