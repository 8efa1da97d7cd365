"""One planted race for every feature of asyncio, anyio, Starlette and FastAPI: each must be found.

A feature whose suspension the explorer does not see would make it say "exhausted" for a racy service. That is
the worst thing it can do, so each feature has a canary: `n` must be 2 after two requests, and an interleaving
exists in which it is 1.
"""

import asyncio
import contextvars
import functools
import threading
import time
import types
from contextlib import aclosing, asynccontextmanager

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from deskbook.races import explore, get, post
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

CANARIES = {}


def canary(function):
    CANARIES[function.__name__] = function
    return function


def app_with_n(**options):
    app = FastAPI(**options)
    app.state.n = 0
    return app


async def bump(app):
    value = app.state.n
    await asyncio.sleep(0)
    app.state.n = value + 1


def endpoint(app):
    """Register what the decorated function does as the endpoint GET /."""

    def register(function):
        app.get("/")(function)
        return app

    return register


@canary
def plain_await():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        await bump(app)

    return app


@canary
def base_http_middleware_around_a_race():
    app = plain_await()

    @app.middleware("http")
    async def middleware(request, call_next):
        return await call_next(request)

    return app


@canary
def base_http_middleware_reads_and_endpoint_writes():
    app = app_with_n()

    @endpoint(app)
    async def handler(request: Request):
        app.state.n = request.state.value + 1

    @app.middleware("http")
    async def middleware(request, call_next):
        request.state.value = app.state.n
        return await call_next(request)

    return app


@canary
def base_http_middleware_writes_after_the_endpoint_read():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        return JSONResponse({}, headers={"x-seen": str(app.state.n)})

    @app.middleware("http")
    async def middleware(request, call_next):
        response = await call_next(request)
        app.state.n = int(response.headers["x-seen"]) + 1
        return response

    return app


@canary
def class_based_http_middleware():
    app = plain_await()

    class Passing(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            return await call_next(request)

    app.add_middleware(Passing)
    return app


@canary
def pure_asgi_middleware_that_awaits():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        return {}

    class Counting:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send):
            await bump(app)
            await self.inner(scope, receive, send)

    app.add_middleware(Counting)
    return app


@canary
def pure_asgi_middleware_around_send():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        return {}

    class Counting:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send):
            async def counting_send(message):
                if message["type"] == "http.response.body":
                    value = app.state.n
                    await send(message)
                    app.state.n = value + 1
                else:
                    await send(message)

            await self.inner(scope, receive, counting_send)

    app.add_middleware(Counting)
    return app


@canary
def sync_endpoint_line_by_line():
    app = app_with_n()

    @endpoint(app)
    def handler():
        value = app.state.n
        app.state.n = value + 1

    return app


@canary
def sync_endpoint_on_one_line():
    app = app_with_n()

    @endpoint(app)
    def handler():
        app.state.n += 1

    return app


@canary
def sync_endpoint_on_one_line_of_a_dict():
    app = app_with_n()
    counts = {"n": 0}

    @endpoint(app)
    def handler():
        counts["n"] = counts.get("n") + 1
        app.state.n = counts["n"]

    return app


@canary
def sync_endpoint_that_sleeps():
    app = app_with_n()

    @endpoint(app)
    def handler():
        value = app.state.n
        time.sleep(0.01)
        app.state.n = value + 1

    return app


@canary
def sync_endpoint_with_a_lock_of_its_own_call():
    app = app_with_n()

    @endpoint(app)
    def handler():
        with threading.Lock():
            value = app.state.n
            app.state.n = value + 1

    return app


@canary
def sync_dependency():
    app = app_with_n()

    def dependency():
        value = app.state.n
        app.state.n = value + 1

    @endpoint(app)
    async def handler(_: None = Depends(dependency)):
        return {}

    return app


@canary
def sync_yield_dependency():
    app = app_with_n()

    def dependency():
        value = app.state.n
        yield value
        app.state.n = value + 1

    @endpoint(app)
    async def handler(value: int = Depends(dependency)):
        return {}

    return app


@canary
def sync_dependency_reads_and_endpoint_writes():
    app = app_with_n()

    def dependency():
        return app.state.n

    @endpoint(app)
    async def handler(value: int = Depends(dependency)):
        app.state.n = value + 1

    return app


@canary
def async_yield_dependency():
    app = app_with_n()

    async def dependency():
        value = app.state.n
        await asyncio.sleep(0)
        yield value

    @endpoint(app)
    async def handler(value: int = Depends(dependency)):
        app.state.n = value + 1

    return app


@canary
def teardown_of_a_yield_dependency():
    app = app_with_n()

    async def dependency():
        value = app.state.n
        yield value
        app.state.n = value + 1

    @endpoint(app)
    async def handler(value: int = Depends(dependency)):
        return {}

    return app


@canary
def background_task():
    app = app_with_n()

    @endpoint(app)
    async def handler(background: BackgroundTasks):
        background.add_task(bump, app)

    return app


@canary
def background_task_with_a_value_read_before():
    app = app_with_n()

    def store(value):
        app.state.n = value

    @endpoint(app)
    async def handler(background: BackgroundTasks):
        background.add_task(store, app.state.n + 1)

    return app


@canary
def streaming_with_an_await_in_the_generator():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        async def chunks():
            yield b"a"
            await bump(app)
            yield b"b"

        return StreamingResponse(chunks())

    return app


@canary
def streaming_across_a_yield():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        async def chunks():
            value = app.state.n
            yield b"a"
            app.state.n = value + 1
            yield b"b"

        return StreamingResponse(chunks())

    return app


@canary
def streaming_from_a_sync_generator():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        def chunks():
            value = app.state.n
            yield b"a"
            app.state.n = value + 1

        return StreamingResponse(chunks())

    return app


@canary
def body_read_in_the_middle():
    app = app_with_n()

    @endpoint(app)
    async def handler(request: Request):
        value = app.state.n
        await request.body()
        app.state.n = value + 1

    return app


@canary
def asyncio_task_group():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        async with asyncio.TaskGroup() as group:
            group.create_task(bump(app))

    return app


@canary
def anyio_task_group():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        async with anyio.create_task_group() as group:
            group.start_soon(bump, app)

    return app


@canary
def gather():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        await asyncio.gather(bump(app), asyncio.sleep(0))

    return app


@canary
def create_task_and_await():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        await asyncio.create_task(bump(app))

    return app


@canary
def task_that_outlives_its_request():
    app = app_with_n()
    app.state.tasks = set()

    @endpoint(app)
    async def handler():
        app.state.tasks.add(asyncio.create_task(bump(app)))

    return app


@canary
def shield():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        await asyncio.shield(bump(app))

    return app


@canary
def asyncio_timeout():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        async with asyncio.timeout(60):
            await bump(app)

    return app


@canary
def wait_for():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        await asyncio.wait_for(bump(app), 60)

    return app


@canary
def anyio_fail_after():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        with anyio.fail_after(60):
            await bump(app)

    return app


@canary
def sleep_for_some_time():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        value = app.state.n
        await asyncio.sleep(30)
        app.state.n = value + 1

    return app


@canary
def semaphore_of_two():
    app = app_with_n()
    semaphore = asyncio.Semaphore(2)

    @endpoint(app)
    async def handler():
        async with semaphore:
            await bump(app)

    return app


@canary
def lock_released_too_early():
    app = app_with_n()
    lock = asyncio.Lock()

    @endpoint(app)
    async def handler():
        async with lock:
            value = app.state.n
            await asyncio.sleep(0)
        async with lock:
            app.state.n = value + 1

    return app


@canary
def anyio_lock_released_too_early():
    app = app_with_n()
    lock = anyio.Lock()

    @endpoint(app)
    async def handler():
        async with lock:
            value = app.state.n
        await anyio.lowlevel.checkpoint()
        async with lock:
            app.state.n = value + 1

    return app


@canary
def condition_without_a_loop():
    app = app_with_n()
    condition = asyncio.Condition()

    @endpoint(app)
    async def handler():
        async with condition:
            value = app.state.n
            await asyncio.sleep(0)
            condition.notify_all()
        async with condition:
            app.state.n = value + 1

    return app


@canary
def event_as_a_gate():
    app = app_with_n()
    is_free = asyncio.Event()
    is_free.set()

    @endpoint(app)
    async def handler():
        await is_free.wait()
        await asyncio.sleep(0)
        is_free.clear()
        await bump(app)
        is_free.set()

    return app


@canary
def queue_with_a_worker_of_the_lifespan():
    @asynccontextmanager
    async def lifespan(app):
        async def worker():
            while True:
                value, done = await queue.get()
                await asyncio.sleep(0)
                app.state.n = value + 1
                done.set_result(None)

        task = asyncio.create_task(worker())
        yield
        task.cancel()

    app = app_with_n(lifespan=lifespan)
    queue = asyncio.Queue()

    @endpoint(app)
    async def handler():
        done = asyncio.get_running_loop().create_future()
        await queue.put((app.state.n, done))
        await done

    return app


@canary
def queue_in_a_task_of_its_own():
    app = app_with_n()
    queue = asyncio.Queue()
    queue.put_nowait(0)

    @endpoint(app)
    async def handler():
        value = app.state.n
        task = asyncio.create_task(queue.get())
        queue.put_nowait(0)
        await task
        app.state.n = value + 1

    return app


@canary
def lifespan_state():
    @asynccontextmanager
    async def lifespan(app):
        yield {"counter": app.state}

    app = app_with_n(lifespan=lifespan)

    @endpoint(app)
    async def handler(request: Request):
        counter = request.state.counter
        value = counter.n
        await asyncio.sleep(0)
        counter.n = value + 1

    return app


@canary
def to_thread():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        value = app.state.n
        await asyncio.to_thread(lambda: None)
        app.state.n = value + 1

    return app


@canary
def anyio_to_thread():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        value = app.state.n
        await anyio.to_thread.run_sync(lambda: None)
        app.state.n = value + 1

    return app


@canary
def run_in_executor():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        value = app.state.n
        await asyncio.get_running_loop().run_in_executor(None, functools.partial(sum, [1]))
        app.state.n = value + 1

    return app


@canary
def async_for():
    app = app_with_n()

    async def values():
        for _ in range(2):
            await asyncio.sleep(0)
            yield app.state.n

    @endpoint(app)
    async def handler():
        seen = [value async for value in values()]
        app.state.n = seen[0] + 1

    return app


@canary
def async_generator_closed_early():
    app = app_with_n()

    async def values():
        value = app.state.n
        try:
            yield value
        finally:
            await asyncio.sleep(0)
            app.state.n = value + 1

    @endpoint(app)
    async def handler():
        async with aclosing(values()) as generator:
            async for _ in generator:
                break

    return app


@canary
def anext_of_a_generator():
    app = app_with_n()

    async def values():
        value = app.state.n
        await asyncio.sleep(0)
        yield value

    @endpoint(app)
    async def handler():
        app.state.n = await anext(values(), 0) + 1

    return app


@canary
def async_context_manager():
    app = app_with_n()

    @asynccontextmanager
    async def transaction():
        value = app.state.n
        yield
        await asyncio.sleep(0)
        app.state.n = value + 1

    @endpoint(app)
    async def handler():
        async with transaction():
            pass

    return app


@canary
def object_with_await():
    app = app_with_n()

    class Answer:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()

    @endpoint(app)
    async def handler():
        value = app.state.n
        await Answer()
        app.state.n = value + 1

    return app


@canary
def generator_based_coroutine():
    app = app_with_n()

    @types.coroutine
    def step():
        yield

    @endpoint(app)
    async def handler():
        value = app.state.n
        await step()
        app.state.n = value + 1

    return app


@canary
def awaited_future_of_a_callback():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        value = app.state.n
        loop.call_soon(future.set_result, None)
        await future
        app.state.n = value + 1

    return app


@canary
def callback_that_writes():
    app = app_with_n()

    def store(value):
        app.state.n = value + 1

    @endpoint(app)
    async def handler():
        asyncio.get_running_loop().call_later(5, store, app.state.n)

    return app


@canary
def done_callback_that_writes():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        value = app.state.n
        task = asyncio.create_task(asyncio.sleep(0))
        task.add_done_callback(lambda _: setattr(app.state, "n", value + 1))
        await task

    return app


@canary
def code_made_by_exec():
    app = app_with_n()
    names = {"app": app, "asyncio": asyncio}
    exec(
        "async def handler():\n"
        "    value = app.state.n\n"
        "    await asyncio.sleep(0)\n"
        "    app.state.n = value + 1\n",
        names,
    )
    app.get("/")(names["handler"])
    return app


@canary
def context_variable():
    app = app_with_n()
    current = contextvars.ContextVar("current")

    @endpoint(app)
    async def handler():
        current.set(app.state.n)
        await asyncio.sleep(0)
        app.state.n = current.get() + 1

    return app


@canary
def exception_handler():
    app = app_with_n()

    @app.exception_handler(HTTPException)
    async def handle(request, error):
        await bump(app)
        return JSONResponse({}, 418)

    @endpoint(app)
    async def handler():
        raise HTTPException(418)

    return app


@canary
def mounted_sub_application():
    inner = plain_await()
    app = FastAPI()
    app.state = inner.state
    app.mount("/", inner)
    return app


@canary
def included_router_with_a_dependency():
    app = app_with_n()

    async def dependency():
        await bump(app)

    router = APIRouter(dependencies=[Depends(dependency)])

    @router.get("/")
    async def handler():
        return {}

    app.include_router(router)
    return app


@canary
def plain_starlette():
    async def handler(request):
        await bump(app)
        return JSONResponse({})

    app = Starlette(routes=[Route("/", handler)])
    app.state.n = 0
    return app


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
    report = await explore(plain_await, {"A": get("/"), "B": get("/")}, invariant=n_is_two, send="httpx")
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
