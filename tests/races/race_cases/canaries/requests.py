"""What FastAPI and Starlette do around an endpoint: dependencies, bodies, streams, background tasks."""

import asyncio

from fastapi import BackgroundTasks, Depends, Request
from fastapi.responses import StreamingResponse

from race_cases.canaries.register import app_with_n, bump, canary, endpoint


@canary
def plain_await():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        await bump(app)

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
def body_read_in_the_middle():
    app = app_with_n()

    @endpoint(app)
    async def handler(request: Request):
        value = app.state.n
        await request.body()
        app.state.n = value + 1

    return app
