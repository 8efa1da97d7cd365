"""Tasks, groups of tasks and timeouts."""

import asyncio

import anyio
import anyio.lowlevel
import anyio.to_thread

from race_cases.canaries.register import app_with_n, bump, canary, endpoint


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
