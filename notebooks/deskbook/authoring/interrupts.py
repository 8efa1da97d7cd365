"""Make the stop button work while a cell awaits.

ipykernel 7 notes the interrupt in a signal handler, which does not wake an event loop that has nothing to do,
and then shows a CancelledError that the learner's code seems to have raised.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

#: How soon an awaiting cell notices the stop button, in seconds.
WAKE_EVERY_S = 0.2


@contextlib.contextmanager
def interruptible(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Wake the loop now and then, so that it runs the signal handlers that wait."""
    timer: asyncio.TimerHandle

    def wake() -> None:
        nonlocal timer
        timer = loop.call_later(WAKE_EVERY_S, wake)

    wake()
    try:
        yield
    finally:
        timer.cancel()


def was_stopped(error: BaseException | None) -> bool:
    """Say whether the cell itself was cancelled, which only the stop button does.

    A CancelledError of another task, such as one that the cell has cancelled and awaits, is the lesson's own.
    """
    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no running loop: a cell without await
        return False
    return task is not None and task.cancelling() > 0
