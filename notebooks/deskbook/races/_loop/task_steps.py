"""Small questions about tasks and steps that the loop asks."""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from deskbook.races import _frames as frames

_TASK_STEP_NAMES = frozenset(
    {"task_wakeup", "__wakeup", "__step", "_Task__wakeup", "_Task__step", "TaskWakeupMethWrapper"}
)


class _LoopOfOneTask:
    """Enough of a loop to hold one task, to learn the private type of its steps."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = []

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> None:
        self.callbacks.append(callback)


async def _nothing() -> None:
    return None


def _type_of_a_task_step() -> type:
    loop: Any = _LoopOfOneTask()
    coroutine = _nothing()
    task = asyncio.Task(coroutine, loop=loop)
    # The step is looked at and not taken: from Python 3.14 on only the running loop may take it.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine.close()
    return type(loop.callbacks[0])


#: What asyncio queues to run a task: a C type, or, where tasks are written in Python, a bound method.
TASK_STEP = _type_of_a_task_step()
if TASK_STEP is types.MethodType:
    TASK_STEP = type(None)  # any method is of that type, so it tells nothing


def ran_user_code(task: asyncio.Task[Any], run: Callable[[], None]) -> bool:
    """Run one step of a task that stands in framework code; tell whether any user code ran in it.

    User code shows in one of two ways: a frame of it is entered, or one that waited in the chain goes on.
    """
    if sys.getprofile() is not None:  # somebody else watches: assume the worse case
        run()
        return True
    before = frames.await_chain(task.get_coro())
    standing = {id(frame) for frame in before}
    entered = False

    def watch(frame: Any, event: str, arg: Any) -> None:
        nonlocal entered
        if event == "call" and not entered and id(frame) not in standing:
            entered = frames.kind_of_frame(frame) == frames.USER

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return entered or _user_frames_moved(before, frames.await_chain(task.get_coro()))


def _user_frames_moved(before: list[Any], after: list[Any]) -> bool:
    """Tell whether a user frame in the chain ran on: it no longer awaits the same inner frame."""
    for index, frame in enumerate(before):
        if frame is not None and frames.kind_of_file(frame.f_code.co_filename) == frames.USER:
            pair = before[index : index + 2]
            if len(pair) < 2 or not _same_frames(pair, after[index : index + 2]):
                return True
    return False


def _same_frames(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(one is other for one, other in zip(left, right, strict=True))


def is_task_step(callback: Any) -> bool:
    """Tell whether a loop callback is the next step of a task, as opposed to one of its methods."""
    name = getattr(callback, "__name__", None)
    return name is None or name in _TASK_STEP_NAMES


def is_unstarted(task: asyncio.Task[Any]) -> bool:
    """Tell whether a task has not taken its first step."""
    coroutine = task.get_coro()
    return inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


def letters(number: int) -> str:
    """Return a, b, ... z, aa, ab, ... for 0, 1, ..."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(97 + rest) + text
    return text
