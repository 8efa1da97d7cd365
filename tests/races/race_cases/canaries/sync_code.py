"""Sync endpoints, sync dependencies and functions in threads."""

import asyncio
import functools
import threading
import time

import anyio
import anyio.lowlevel
import anyio.to_thread
from fastapi import Depends
from fastapi.responses import StreamingResponse

from race_cases.canaries.register import app_with_n, canary, endpoint


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
def sync_endpoint_adds_to_an_item_of_a_dict():
    app = app_with_n()
    counts = {"n": 0}

    @endpoint(app)
    def handler():
        counts["n"] += 1
        app.state.n = counts["n"]

    return app


@canary
def sync_endpoint_adds_to_a_slice_of_a_list():
    app = app_with_n()
    rows = []

    @endpoint(app)
    def handler():
        rows[:] = [*rows[:], 1]
        app.state.n = len(rows)

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
