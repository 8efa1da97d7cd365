"""A controlled call as steps of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..asgi import framework_pause
from .call import ControlledCall


async def run_controlled(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Run a sync function in a controlled thread; each line is a scheduling point of the awaiting task.

    A thread cannot be cancelled: if the awaiting task is, the thread runs on in a task of its own.
    """
    call = ControlledCall(function, args)
    loop: Any = asyncio.get_running_loop()
    try:
        await _drive_call(call, loop)
        await framework_pause()  # a result comes back through the loop, and others may run before it is used
    except asyncio.CancelledError:
        if loop.exploring:
            loop.left_behind = loop.create_task(_drive_call(call, loop))
        else:
            call.abandon()
        raise
    return call.result()


async def _drive_call(call: ControlledCall, loop: Any) -> None:
    try:
        await framework_pause()
        call.resume()
        while not call.finished:
            if call.waits_until is not None:
                await _wait(call, loop)
            elif call.sleeps_s is not None:
                await asyncio.sleep(call.sleeps_s)
            else:
                await asyncio.sleep(0)
            call.resume()
    finally:
        if not loop.exploring:
            call.abandon()


async def _wait(call: ControlledCall, loop: Any) -> None:
    condition = call.waits_until
    assert condition is not None
    free = loop.wait_until(condition)
    if call.sleeps_s is None:
        await free
        return
    await asyncio.wait([free], timeout=call.sleeps_s)
    free.cancel()
