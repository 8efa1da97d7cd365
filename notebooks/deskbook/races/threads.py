"""Sync `def` endpoints and dependencies: real threads, one line at a time.

FastAPI runs them in worker threads, so they race with each other between any two lines, without an `await` in
sight. Here each of them gets a real thread too, but the thread hands control back before every line of user
code (`sys.settrace`), and the loop treats "run the next line" as a step like any other. Exactly one thread
runs at any moment. A line that loads what it then stores (`account.balance -= 60`) is split before the store.

`threading.Lock` and its kin, made while exploring, wait by handing control back; a lock that was made before
is recognised in `with lock:` and `lock.acquire()` lines of user code. The tracer never looks into the
standard library: a first version traced the lines of the lock itself and raised false alarms. Source: shuttle
and loom replace the thread primitives the same way; `sys.settrace` is the Python door to it.
"""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import dis
import functools
import re
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from . import frames
from .asgi import framework_pause
from .errors import Deadlock, Diverged

_new_lock = threading._allocate_lock  # type: ignore[attr-defined]
_LOCK_TYPES = (type(threading.Lock()), type(threading.RLock()))
_local = threading.local()

#: Seconds of real time after which a thread that does not come back is given up.
STUCK_AFTER_S = 10.0


class Abandoned(BaseException):
    """Ends a thread whose run is over."""


def in_controlled_thread() -> bool:
    """Tell whether the caller runs in a thread of the explorer."""
    return getattr(_local, "call", None) is not None


def sleep_controlled(seconds: float) -> None:
    """Sleep on the virtual clock, from a controlled thread."""
    _local.call.sleep(seconds)


class _Worker:
    """A thread that runs one call after another, so that a schedule does not pay for a thread start."""

    _idle: list[_Worker] = []  # noqa: RUF012 - shared on purpose: one pool for the process

    def __init__(self) -> None:
        self.go = _new_lock()
        self.back = _new_lock()
        self.go.acquire()
        self.back.acquire()
        self.call: ControlledCall | None = None
        # Not threading.Thread: that waits for its start on a lock, and locks are controlled ones at this
        # moment.
        _thread.start_new_thread(self._serve, ())

    @classmethod
    def take(cls) -> _Worker:
        return cls._idle.pop() if cls._idle else cls()

    def _serve(self) -> None:
        while True:
            self.go.acquire()
            call = self.call
            if call is None:
                return
            _local.call = call
            call.run()
            _local.call = None
            self.call = None
            self.back.release()


def stop_idle_threads() -> None:
    """End the worker threads that wait for work."""
    while _Worker._idle:
        worker = _Worker._idle.pop()
        worker.call = None
        worker.go.release()


class ControlledCall:
    """A function in a thread of its own that runs only while the loop waits for it.

    Attributes:
        label: the source line that runs next.
        finished: whether the function has returned or raised.
        waits_until: a condition that must hold before the thread can go on, or None.
        sleeps_s: seconds of virtual time to wait before the thread goes on, or None.
    """

    #: Called, in the thread, with the frame of each line that runs: set while a run is recorded.
    on_line: Callable[[types.FrameType], None] | None = None

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self._context = contextvars.copy_context()
        self._worker = _Worker.take()
        self._error: BaseException | None = None
        self._value: Any = None
        self._abandoned = False
        self.label = "start of a thread"
        self.place: object = None
        self.finished = False
        self.waits_until: Callable[[], bool] | None = None
        self.sleeps_s: float | None = None

    def resume(self) -> None:
        """Let the thread run to its next line; returns when it stands there.

        Raises:
            Diverged: if the thread blocks on something that the explorer does not control.
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
            _Worker._idle.append(worker)

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
            self.finished = True

    def pause(self) -> None:
        """Hand control back to the loop until the next `resume`."""
        self._worker.back.release()
        self._worker.go.acquire()
        if self._abandoned:
            sys.settrace(None)
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
        filename = frame.f_code.co_filename
        if frames.kind_of_frame(frame) != frames.USER or filename == __file__:
            return None
        if _split_stores(frame.f_code):
            # From Python 3.13 on, opcode events need the frame's own tracer to be set first.
            frame.f_trace = self._trace_line
            frame.f_trace_opcodes = True
        return self._trace_line

    def _trace_line(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.label = frames.source_line(frame.f_code, frame.f_lineno)
            self.place = (frame.f_code, frame.f_lineno)
            if not _is_local(frame.f_code, frame.f_lineno):
                self.pause()
            self._wait_for_plain_locks(frame)
            if self.on_line is not None and frames.is_shown(frame.f_code.co_filename):
                self.on_line(frame)
        elif event == "opcode" and frame.f_lasti in _split_stores(frame.f_code):
            self.label = frames.source_line(frame.f_code, frame.f_lineno) + "  (the store)"
            self.place = (frame.f_code, frame.f_lasti)
            self.pause()
        return self._trace_line

    def _wait_for_plain_locks(self, frame: types.FrameType) -> None:
        """Before a line that takes a lock made outside: wait, under control, until it is free."""
        if frame.f_lasti != _first_instruction(frame.f_code, frame.f_lineno):
            return  # the end of a `with` block reports the line of its head once more
        for expression in _locks_taken(frame.f_code, frame.f_lineno):
            lock = _evaluate(expression, frame)
            if isinstance(lock, _LOCK_TYPES):
                self.wait_until(functools.partial(_is_free_for, lock, threading.get_ident()))


def _is_free_for(lock: Any, thread_id: int) -> bool:
    if isinstance(lock, _LOCK_TYPES[1]):
        # An RLock cannot be asked; its text names its owner.
        text = repr(lock)
        return f"owner={thread_id} " in text or "owner=0 " in text
    return not lock.locked()


_WITH = re.compile(r"with\s+(?P<items>[\w.,\s]+?)(?:\s+as\s+\w+)?\s*:")
_ACQUIRE = re.compile(r"(?P<items>[A-Za-z_][\w.]*)\.acquire\(\s*\)")


@functools.lru_cache(maxsize=4096)
def _locks_taken(code: types.CodeType, line: int) -> tuple[str, ...]:
    text = frames.source_line(code, line).partition(": ")[2]
    found: list[str] = []
    for pattern in (_WITH, _ACQUIRE):
        match = pattern.search(text)
        if match:
            found.extend(item.strip() for item in match["items"].split(","))
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def _first_instruction(code: types.CodeType, line: int) -> int:
    return min((start for start, _, at in code.co_lines() if at == line), default=-1)


def _evaluate(expression: str, frame: types.FrameType) -> Any:
    """Look a dotted name up without calling anything of the user's but attribute access."""
    first, *rest = expression.split(".")
    missing = object()
    value = frame.f_locals.get(first, frame.f_globals.get(first, missing))
    for name in rest:
        if value is missing:
            return None
        value = getattr(value, name, missing)
    return None if value is missing else value


#: Instructions that touch nothing but the function's own variables.
_LOCAL_INSTRUCTIONS = re.compile(
    r"RESUME|NOP|CACHE|POP_TOP|LOAD_CONST|LOAD_FAST\w*|STORE_FAST\w*|RETURN_VALUE|RETURN_CONST|JUMP_\w+|"
    r"BUILD_(TUPLE|LIST|MAP|SET)|COPY|SWAP|LOAD_SMALL_INT"
)


@functools.lru_cache(maxsize=4096)
def _is_local(code: types.CodeType, line: int) -> bool:
    """Tell whether others cannot notice a line nor it them, such as `return {}`: no choice before it."""
    names = [i.opname for i in dis.get_instructions(code) if i.positions and i.positions.lineno == line]
    return all(_LOCAL_INSTRUCTIONS.fullmatch(name) for name in names)


_STORES = {"STORE_ATTR": "LOAD_ATTR", "STORE_GLOBAL": "LOAD_GLOBAL", "STORE_DEREF": "LOAD_DEREF"}


@functools.lru_cache(maxsize=4096)
def _split_stores(code: types.CodeType) -> frozenset[int]:
    """Return the offsets of stores whose line loads the same name first, as `n += 1` does."""
    offsets = set()
    loaded: set[tuple[str, Any]] = set()
    line = None
    for instruction in dis.get_instructions(code):
        at = instruction.positions.lineno if instruction.positions else None
        if at is not None and at != line:
            line, loaded = at, set()
        name = instruction.opname
        if (name in _STORES and (_STORES[name], instruction.argval) in loaded) or (
            name == "STORE_SUBSCR" and (("BINARY_SUBSCR", None) in loaded or ("LOAD_ATTR", "get") in loaded)
        ):
            offsets.add(instruction.offset)
        elif name.startswith("BINARY_SUBSCR"):
            loaded.add(("BINARY_SUBSCR", None))
        elif name.startswith(("LOAD_ATTR", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_METHOD")):
            kind = "LOAD_ATTR" if name.startswith("LOAD_METHOD") else name
            loaded.add((kind, instruction.argval))
    return frozenset(offsets)


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


class ControlledLock:
    """A `threading.Lock` that waits by handing control back, when a controlled thread asks."""

    def __init__(self) -> None:
        self._lock = _new_lock()
        self._holder: ControlledCall | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; see `threading.Lock.acquire`."""
        call: ControlledCall | None = getattr(_local, "call", None)
        if call is None:
            return self._acquire_outside(blocking, timeout)
        if self._lock.locked() and (
            not blocking or not call.wait_until(lambda: not self._lock.locked(), timeout)
        ):
            return False
        self._holder = call
        return bool(self._lock.acquire(False))

    def _acquire_outside(self, blocking: bool, timeout: float) -> bool:
        if not _is_controlled_loop_running():
            return bool(self._lock.acquire(blocking, timeout))
        # On the loop's own thread: nothing but the thread that holds the lock can free it.
        while self._lock.locked():
            holder = self._holder
            if not blocking:
                return False
            if holder is None or holder.finished or holder.waits_until is not None:
                raise Deadlock(
                    "the event loop itself blocks on a threading lock that a waiting request holds"
                )
            holder.resume()
        self._holder = None
        return bool(self._lock.acquire(False))

    def release(self) -> None:
        """Free the lock."""
        self._holder = None
        self._lock.release()

    def locked(self) -> bool:
        """Tell whether the lock is taken."""
        return bool(self._lock.locked())

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class ControlledRLock(ControlledLock):
    """A `threading.RLock` of the same kind."""

    def __init__(self) -> None:
        super().__init__()
        self._owner: object = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, again if the caller has it."""
        me = getattr(_local, "call", None) or threading.get_ident()
        if self._owner == me:
            self._count += 1
            return True
        if not super().acquire(blocking, timeout):
            return False
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        """Free the lock once."""
        if not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            super().release()

    def _is_owned(self) -> bool:
        return self._owner == (getattr(_local, "call", None) or threading.get_ident())

    def _release_save(self) -> tuple[int, object]:
        saved = (self._count, self._owner)
        self._count, self._owner = 0, None
        super().release()
        return saved

    def _acquire_restore(self, saved: tuple[int, object]) -> None:
        super().acquire()
        self._count, self._owner = saved


def _is_controlled_loop_running() -> bool:
    loop = asyncio._get_running_loop()
    return getattr(loop, "exploring", None) is True


def _belongs_to_a_thread(frame: types.FrameType | None) -> bool:
    """Tell whether a lock is made for a `threading.Thread` of the service's own: out of our control."""
    for _ in range(6):
        if frame is None:
            return False
        if frame.f_code in _THREAD_CODE:
            loop: Any = asyncio._get_running_loop()
            if _is_controlled_loop_running():
                loop.ungated.append("a thread of its own")
            return True
        frame = frame.f_back
    return False


_THREAD_CODE = frozenset(
    {threading.Thread.__init__.__code__, threading.Thread.start.__code__, threading.Thread.join.__code__}
)


class ControlledThreads:
    """While entered, worker threads and locks of code in the explored region are controlled ones."""

    def __enter__(self) -> ControlledThreads:
        self._saved = {name: getattr(threading, name) for name in ("Lock", "RLock", "_allocate_lock")}
        self._owner = threading.get_ident()
        threading.Lock = self._make(ControlledLock, "Lock")  # type: ignore[assignment]
        threading.RLock = self._make(ControlledRLock, "RLock")  # type: ignore[assignment]
        threading._allocate_lock = self._make(ControlledLock, "_allocate_lock")  # type: ignore[attr-defined]
        self._backend: Any = None
        if "anyio" in sys.modules:
            self._replace_anyio()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name, value in self._saved.items():
            setattr(threading, name, value)
        if self._backend is not None:
            self._backend.run_sync_in_worker_thread = self._anyio_original
        stop_idle_threads()

    def _make(self, controlled: Callable[[], Any], name: str) -> Callable[[], Any]:
        real = self._saved[name]

        def make_lock() -> Any:
            ours = threading.get_ident() == self._owner or in_controlled_thread()
            return controlled() if ours and not _belongs_to_a_thread(sys._getframe(1)) else real()

        return make_lock

    def _replace_anyio(self) -> None:
        import anyio
        from anyio._backends._asyncio import AsyncIOBackend

        original = AsyncIOBackend.__dict__["run_sync_in_worker_thread"]

        async def run_sync(
            cls: Any,
            func: Callable[..., Any],
            args: tuple[Any, ...],
            abandon_on_cancel: bool = False,
            limiter: Any = None,
        ) -> Any:
            if not hasattr(asyncio.get_running_loop(), "exploring"):
                return await original.__get__(None, cls)(func, args, abandon_on_cancel, limiter)
            with anyio.CancelScope(shield=not abandon_on_cancel):
                return await run_controlled(func, args)

        self._backend, self._anyio_original = AsyncIOBackend, original
        AsyncIOBackend.run_sync_in_worker_thread = classmethod(run_sync)  # type: ignore[assignment]
