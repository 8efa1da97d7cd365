"""Timers of the service are held: whether one has fired by now is a choice of the search, not of the machine.

A run against a server takes milliseconds, so a timeout of a second would never fire in it, and a pause of a
millisecond would end wherever the machine is quick enough. So every timer that a request sets stands still
until the search moves the clock, as in process. The time that the request sees (`loop.time()`) stands still
with it. Timers of the client libraries themselves run on the real clock: they watch real sockets.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import sys
from collections.abc import Callable, Container
from types import FrameType
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._subject.actors import REQUEST

#: Where the time of the requests starts; a constant, so that sums of floats are the same in every run.
EPOCH_S = 1_000_000.0

#: Packages that watch sockets by timers of their own.
CLIENT_LIBRARIES = ("asyncpg", "psycopg", "psycopg_pool", "sqlalchemy", "redis", "async_timeout", "aiosqlite")


class HeldTimers:
    """The timers that the requests of one run have set.

    Args:
        loop: The running loop. Its `call_at` and `time` are replaced while the run is under way; a loop that
            does not let them be replaced (uvloop) keeps its own timers, which `can_hold` tells.

    Attributes:
        can_hold: Whether the loop lets its timers be held.
        spared: Whether a timeout could have struck a request that was about to go on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.can_hold = isinstance(loop, asyncio.BaseEventLoop) and hasattr(loop, "__dict__")
        self.spared = False
        self._of_libraries: list[asyncio.TimerHandle] = []
        self._loop: Any = loop
        self._now_s = EPOCH_S
        self._heap: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._number = 0
        self._active = False

    def install(self) -> None:
        """Begin to hold timers."""
        if self.can_hold:
            self._active = True
            self._call_at = self._loop.call_at
            self._time = self._loop.time
            self._loop.call_at = self._held_call_at
            self._loop.time = self._seen_time

    def remove(self) -> None:
        """Give the loop back as it was; what is still held never fires."""
        if self._active:
            self._active = False
            del self._loop.call_at
            del self._loop.time

    def next(self, busy: Container[str] = ()) -> asyncio.TimerHandle | None:
        """Return the timer that may fire first, or None.

        Args:
            busy: Requests that could go on. A timeout strikes a request that waits; that it strikes one which
                is about to go on takes a machine that stands still, and is left out (see `spared`).
        """
        self._heap = [entry for entry in self._heap if not entry[2].cancelled()]
        heapq.heapify(self._heap)
        for _, _, handle in sorted(self._heap, key=lambda entry: entry[:2]):
            if _is_a_timeout(handle._callback) and _request_of(handle) in busy:  # type: ignore[attr-defined]
                self.spared = True
                continue
            return handle
        return None

    def fire(self, handle: asyncio.TimerHandle) -> None:
        """Move the time of the requests to a timer and let it go, with all pauses that end until then."""
        self._now_s = max(self._now_s, handle.when())
        for entry in sorted(self._heap, key=lambda entry: entry[:2]):
            due = entry[2]
            is_over = entry[0] <= self._now_s and not _is_a_timeout(due._callback)  # type: ignore[attr-defined]
            if due is handle or is_over:
                self._heap.remove(entry)
                if not due.cancelled():
                    self._loop._add_callback(due)
        heapq.heapify(self._heap)

    @property
    def library_waits(self) -> bool:
        """Whether a timeout of a client library is pending: it runs on the real clock, and so never fires."""
        self._of_libraries = [handle for handle in self._of_libraries if not handle.cancelled()]
        return bool(self._of_libraries)

    def _seen_time(self) -> float:
        return self._now_s if REQUEST.get() is not None else float(self._time())

    def _held_call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        if REQUEST.get() is None:
            return self._call_at(when, callback, *args, context=context)  # type: ignore[no-any-return]
        if not _is_of_the_service(callback):
            real = when - self._now_s + self._time()
            timer: asyncio.TimerHandle = self._call_at(real, callback, *args, context=context)
            if _is_a_timeout(callback):
                self._of_libraries.append(timer)
            return timer
        handle = asyncio.TimerHandle(when, callback, args, self._loop, context)
        self._number += 1
        heapq.heappush(self._heap, (when, self._number, handle))
        return handle


def _is_of_the_service(callback: Any) -> bool:
    """Tell whether a timer was set by the service (or by a framework for it), not by a client library.

    A pause (`asyncio.sleep`) always counts: a library that polls waits for others to act.
    """
    function = getattr(callback, "__func__", callback)
    task = asyncio.current_task()
    if task is not None and belongs_to_a_library(task.get_coro()):
        return False  # a task that the library has started for itself, such as asyncpg's for a cancellation
    if function is asyncio.futures._set_result_unless_cancelled:  # type: ignore[attr-defined]
        return True
    module = getattr(function, "__module__", "") or ""
    if module.partition(".")[0] in CLIENT_LIBRARIES:
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name in CLIENT_LIBRARIES:
            return False
        if frames.kind_of_file(frame.f_code.co_filename) == frames.USER:
            return True
        frame = frame.f_back
    return True


def belongs_to_a_library(coroutine: Any) -> bool:
    """Tell whether a task, known by its coroutine, was started by a client library for itself."""
    code = getattr(coroutine, "cr_code", None)
    return code is not None and any(f"{library}/" in code.co_filename for library in CLIENT_LIBRARIES)


def _request_of(handle: asyncio.TimerHandle) -> str | None:
    context: contextvars.Context = handle._context  # type: ignore[attr-defined]
    return context.get(REQUEST)


def _is_a_timeout(callback: Any) -> bool:
    """Tell whether a timer ends a wait, as opposed to a pause, or to housekeeping of a pool."""
    name = str(getattr(callback, "__qualname__", "")) or type(callback).__name__
    return "timeout" in name.lower() or "release_waiter" in name
