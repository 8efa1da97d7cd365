"""The end of a run against real servers: everything is let go, so that no lock outlives the run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from deskbook.races._gates.base import Table

#: Rounds and seconds of real time that cleaning up after a run may take before tasks are cancelled.
_CLEANING_ROUNDS = 5
_CLEANING_S = 2.0


async def finish(table: Table, roots: Iterable[asyncio.Task[Any]], before: set[asyncio.Task[Any]]) -> None:
    """Let everything go, cancel what is left and wait for it, so that no lock outlives the run.

    A client library may clean up in tasks of its own (asyncpg gives a connection back in one); they are
    waited for too, else the next run would find the pool half empty.
    """
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    # asyncpg tells the handler of every transaction that a cancelled request left open, and it is this
    # function that cancels them.
    loop.set_exception_handler(lambda loop, context: None)
    try:
        for operation in list(table.waiting.values()):
            operation.go.cancel()
        for task in roots:
            task.cancel()
        for _ in range(_CLEANING_ROUNDS):
            left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
            if not left:
                break
            _, late = await asyncio.wait(left, timeout=_CLEANING_S)
            for task in late:
                task.cancel()
    finally:
        loop.set_exception_handler(handler)
    for task in roots:
        if task.done() and not task.cancelled():
            task.exception()
