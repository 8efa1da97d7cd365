"""One sync function in a thread of its own, which runs only while the loop waits for it."""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._errors import Diverged
from deskbook.races._loop.threads.lines import (
    evaluate,
    first_instruction,
    is_local,
    locks_taken,
    split_stores,
)
from deskbook.races._loop.threads.worker import Worker, current

_LOCK_TYPES = (type(threading.Lock()), type(threading.RLock()))

#: Seconds of real time after which a thread that does not come back is given up.
STUCK_AFTER_S = 10.0


#: The thread of the loop that is under control: `ControlledThreads` says which one it is.
_loop_thread = 0


def set_loop_thread(ident: int) -> None:
    """Say which thread runs the loop that is under control."""
    global _loop_thread
    _loop_thread = ident


def loop_thread() -> int:
    """Return the thread that runs the loop under control."""
    return _loop_thread


class Abandoned(BaseException):
    """Ends a thread whose run is over."""


def in_controlled_thread() -> bool:
    """Tell whether the caller runs in a thread of the explorer."""
    return getattr(current, "call", None) is not None


def sleep_controlled(seconds: float) -> None:
    """Sleep on the virtual clock, from a controlled thread."""
    current.call.sleep(seconds)


class ControlledCall:
    """A function in a thread of its own that runs only while the loop waits for it.

    Attributes:
        label: The source line that runs next.
        place: Where that is.
        finished: Whether the function has returned or raised.
        frame: The frame of the user's code in which it stands, or None.
        waits_until: A condition that must hold before the thread can go on, or None.
        sleeps_s: Seconds of virtual time to wait before the thread goes on, or None.
    """

    #: Called, in the thread, with the frame of each line that runs: set while a run is recorded.
    on_line: Callable[[types.FrameType], None] | None = None

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self._context = contextvars.copy_context()
        self._worker = Worker.take()
        self._error: BaseException | None = None
        self._value: Any = None
        self._abandoned = False
        self.label = "start of a thread"
        self.place: object = None
        self.frame: types.FrameType | None = None
        self.finished = False
        self.waits_until: Callable[[], bool] | None = None
        self.sleeps_s: float | None = None

    def resume(self) -> None:
        """Let the thread run to its next line; returns when it stands there.

        Raises:
            Diverged: If the thread blocks on something that the explorer does not control.
        """
        worker = self._worker
        worker.call = self
        worker.go.release()
        if not worker.back.acquire(timeout=STUCK_AFTER_S):
            raise Diverged(
                f"a thread did not come back from «{self.label}»: it waits for something out of control. "
                f"Make locks, events and queues inside make_app."
            )
        if self.finished:
            Worker.idle.append(worker)

    def result(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._value

    def abandon(self) -> None:
        """End the thread now."""
        if not self.finished:
            self._abandoned = True
            while not self.finished:
                self.resume()

    # In the thread.

    def run(self) -> None:
        """Run the function to its end (called by the worker)."""
        try:
            if self._abandoned:
                return
            sys.settrace(self._trace)
            self._value = self._context.run(self._function, *self._args)
        except BaseException as error:
            self._error = error
        finally:
            sys.settrace(None)
            self.frame = None
            self.finished = True

    def pause(self) -> None:
        """Hand control back to the loop until the next `resume`."""
        self._worker.back.release()
        self._worker.go.acquire()
        if self._abandoned:
            # Tracing is not ended here, inside of the tracer: Python 3.12.1 then crashes now and again.
            raise Abandoned

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = -1) -> bool:
        """Hand control back until a condition holds; False if `timeout_s` passed first."""
        if timeout_s is not None and timeout_s >= 0:
            self.sleeps_s = timeout_s
        while not condition():
            self.waits_until = condition
            self.pause()
            self.waits_until = None
            if self.sleeps_s is not None and not condition():
                self.sleeps_s = None
                return False
        self.sleeps_s = None
        return True

    def sleep(self, seconds: float) -> None:
        """Hand control back for some virtual time."""
        self.sleeps_s = max(0.0, seconds)
        self.pause()
        self.sleeps_s = None

    def _trace(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        if self._abandoned or frames.kind_of_frame(frame) != frames.USER:
            return None
        if split_stores(frame.f_code):
            # From Python 3.13 on, opcode events need the frame's own tracer to be set first.
            frame.f_trace = self._trace_line
            frame.f_trace_opcodes = True
        return self._trace_line

    def _trace_line(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        if self._abandoned:
            return None
        if event == "line":
            self.label = frames.source_line(frame.f_code, frame.f_lineno)
            self.place = (frame.f_code, frame.f_lineno)
            self.frame = frame
            if not is_local(frame.f_code, frame.f_lineno):
                self.pause()
            self._wait_for_plain_locks(frame)
            if self.on_line is not None and frames.is_shown(frame.f_code.co_filename):
                self.on_line(frame)
        elif event == "opcode" and frame.f_lasti in split_stores(frame.f_code):
            self.label = frames.source_line(frame.f_code, frame.f_lineno) + "  (the store)"
            self.place = (frame.f_code, frame.f_lasti)
            self.pause()
        return self._trace_line

    def _wait_for_plain_locks(self, frame: types.FrameType) -> None:
        """Before a line that takes a lock made outside: wait, under control, until it is free."""
        if frame.f_lasti != first_instruction(frame.f_code, frame.f_lineno):
            return  # the end of a `with` block reports the line of its head once more
        for expression in locks_taken(frame.f_code, frame.f_lineno):
            lock = evaluate(expression, frame)
            if isinstance(lock, _LOCK_TYPES):
                self.wait_until(functools.partial(_is_free_for, lock, threading.get_ident()))


def _is_free_for(lock: Any, thread_id: int) -> bool:
    if isinstance(lock, _LOCK_TYPES[1]):
        # An RLock cannot be asked; its text names its owner.
        text = repr(lock)
        return f"owner={thread_id} " in text or "owner=0 " in text
    return not lock.locked()
