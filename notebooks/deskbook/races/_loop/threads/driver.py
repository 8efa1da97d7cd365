"""A controlled call as steps of the event loop."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

from deskbook.races import _frames as frames
from deskbook.races._loop.threads.call import ControlledCall
from deskbook.races._subject.asgi import framework_pause


class Host(Protocol):
    """What a controlled call asks of the loop that it runs on."""

    exploring: bool

    def create_task(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task, which the loop keeps."""
        ...

    def wait_until(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """Return a future that is done as soon as the condition holds after a step."""
        ...


async def run_controlled(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Run a sync function in a controlled thread; each line is a scheduling point of the awaiting task.

    A thread cannot be cancelled: if the awaiting task is, the thread runs on in a task of its own.
    """
    call = ControlledCall(function, args)
    loop = cast(Host, asyncio.get_running_loop())
    try:
        await _drive_call(call, loop)
        await framework_pause()  # a result comes back through the loop, and others may run before it is used
    except asyncio.CancelledError:
        if loop.exploring:
            loop.create_task(_drive_call(call, loop))
        else:
            call.abandon()
        raise
    return call.result()


async def _drive_call(call: ControlledCall, loop: Host) -> None:
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


async def _wait(call: ControlledCall, loop: Host) -> None:
    condition = call.waits_until
    assert condition is not None
    free = loop.wait_until(condition)
    if call.sleeps_s is None:
        await free
        return
    await asyncio.wait([free], timeout=call.sleeps_s)
    free.cancel()


def _call_of(frame: types.FrameType) -> ControlledCall:
    """Return the call that a frame of the coroutines above drives: each of them names it `call`."""
    return cast(ControlledCall, frame.f_locals["call"])


for _coroutine_function in (run_controlled, _drive_call, _wait):
    frames.stands_for_user_code(_coroutine_function, _call_of)
