"""Everything else in Python that can wait: generators, awaitables, callbacks, code without a file."""

import asyncio
import contextvars
import types
from contextlib import aclosing, asynccontextmanager

from race_cases.canaries.register import app_with_n, canary, endpoint


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
