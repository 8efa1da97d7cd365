"""Locks, semaphores, conditions, events and queues."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import anyio.to_thread

from race_cases.canaries.register import app_with_n, bump, canary, endpoint


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
