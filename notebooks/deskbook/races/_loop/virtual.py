"""An event loop in plain lists: all that asyncio asks of a loop, with a virtual clock and without I/O.

`asyncio.Task` and everything on top of it need three things of a loop: `call_soon`, `call_at` and `time`.
Here they fill a queue and a heap; `controlled.ControlledLoop` decides in which order they are emptied. A call
that would do real I/O is refused and remembered, since what it does is outside of the explorer's control.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import heapq
import sys
import types
import weakref
from asyncio import events, tasks
from collections.abc import Callable
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._errors import UngatedIO

#: Where the virtual clock starts. Not 0: services compare against a stamp of 0 that means "never".
EPOCH_S = 1_000_000.0


class Handle:
    """A scheduled callback: what `asyncio.Handle` and `asyncio.TimerHandle` offer to their users."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "when_s")

    def __init__(
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        when_s: float,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.when_s = when_s
        self.is_cancelled = False

    def cancel(self) -> None:
        """Never run the callback."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Tell whether `cancel` was called."""
        return self.is_cancelled

    def when(self) -> float:
        """Return the loop time at which the callback is due, in seconds."""
        return self.when_s


class VirtualLoop(asyncio.AbstractEventLoop):
    """An event loop whose queues somebody else empties.

    Attributes:
        incoming: Callbacks that are due, in their order.
        timers: A heap of (moment in seconds, number, callback).
        tasks: All tasks of the run.
        now_s: The virtual time in seconds.
        exploring: Whether requests are run, as opposed to what the explorer does around them.
        ungated: What would have done real I/O and was refused.
        blocked: Why the loop itself could not go on, or None.
        generators: Async generators that were begun.
    """

    def __init__(self) -> None:
        self.ungated: list[str] = []
        self.blocked: str | None = None
        self.exploring = False
        self._sequence = 0
        self._closed = False
        self._task_factory: Any = None
        self._exception_handler: Any = None
        self.forget()

    def forget(self) -> None:
        """Empty all queues and go back to the start of virtual time."""
        self.now_s = EPOCH_S
        self.blocked = None
        self.tasks: list[asyncio.Task[Any]] = []
        self.generators: weakref.WeakSet[Any] = weakref.WeakSet()
        self.incoming: collections.deque[Handle] = collections.deque()
        self.timers: list[tuple[float, int, Handle]] = []

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        """Queue a callback, as `asyncio` does."""
        handle = Handle(callback, args, context if context is not None else contextvars.copy_context(), 0.0)
        self.incoming.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        """Queue a callback for a moment of virtual time."""
        handle = Handle(callback, args, context if context is not None else contextvars.copy_context(), when)
        self._sequence += 1
        heapq.heappush(self.timers, (when, self._sequence, handle))
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        """Queue a callback for `delay` seconds of virtual time from now."""
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Start a task, at once where `eager_start` or the task factory (Python 3.12 and later) says so."""
        if self._task_factory is not None:
            # As asyncio did before 3.13: a factory need not know about names.
            name = options.pop("name", None)
            given = {key: value for key, value in options.items() if value is not None}
            task: asyncio.Task[Any] = self._task_factory(self, coro, **given)
            if name is not None:
                task.set_name(name)
        else:
            task = asyncio.Task(coro, loop=self, **options)
        self.tasks.append(task)
        return task

    def set_task_factory(self, factory: Any) -> None:
        """Use `factory(loop, coroutine)` for tasks from now on."""
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        """Return what `set_task_factory` was given."""
        return self._task_factory

    def get_debug(self) -> bool:
        """Return False: asyncio's debug mode measures real time."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Do nothing; see `get_debug`."""

    def is_running(self) -> bool:
        """Return True while a run is under way, which is the only time anybody can ask."""
        return not self._closed

    def is_closed(self) -> bool:
        """Tell whether the loop was closed."""
        return self._closed

    def close(self) -> None:
        """Forget everything."""
        self.forget()
        self._closed = True

    def stop(self) -> None:
        """Refuse: the search decides when a run ends."""
        raise RuntimeError("loop.stop() cannot be called in code that is explored")

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: generators are finished at the end of each run."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's signature
        """Do nothing: there is no executor."""

    def set_exception_handler(self, handler: Any) -> None:
        """Keep the handler; it is called as asyncio would."""
        self._exception_handler = handler

    def get_exception_handler(self) -> Any:
        """Return the handler."""
        return self._exception_handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Stay silent: a failing task shows in the responses or in the state."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Pass a problem that asyncio noticed to the handler, if one was set."""
        if self._exception_handler is not None:
            self._exception_handler(self, context)

    def _timer_handle_cancelled(self, handle: Any) -> None:
        """Do nothing; a cancelled timer is dropped when it comes up."""

    def advance(self, seconds: float) -> None:
        """Move the clock; timers that are due become callbacks."""
        self.now_s += seconds
        self._fire_due()

    def has_timer(self) -> bool:
        """Drop the timers in front that were cancelled, and tell whether another one is left."""
        timers = self.timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        return bool(timers)

    def fire_next_timer(self) -> bool:
        """Move the clock to the next timer that was not cancelled; tell whether there was one."""
        if not self.has_timer():
            return False
        self.now_s = max(self.now_s, self.timers[0][0])
        self._fire_due()
        return True

    def _fire_due(self) -> None:
        while self.timers and self.timers[0][0] <= self.now_s:
            handle = heapq.heappop(self.timers)[2]
            if not handle.is_cancelled:
                self.incoming.append(handle)

    def run_handle(self, handle: Handle) -> None:
        """Run a callback; what it raises is told to the exception handler, as asyncio does."""
        try:
            handle.context.run(handle.callback, *handle.args)  # type: ignore[union-attr]
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.call_exception_handler({"message": "exception in callback", "exception": error})


_IO_METHODS = (
    "add_reader", "add_writer", "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe",
    "create_connection", "create_datagram_endpoint", "create_server", "create_unix_connection",
    "create_unix_server", "getaddrinfo", "getnameinfo", "sendfile", "sock_accept", "sock_connect",
    "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_sendall", "sock_sendfile", "sock_sendto",
    "start_tls",
    "subprocess_exec", "subprocess_shell",
)  # fmt: skip


def _place_in_service() -> str:
    """Return where the service is on the present stack, as ` at «line»`, or ""."""
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not frames.floor():
        if frames.is_shown(frame.f_code.co_filename):
            return f" at «{frames.source_line(frame.f_code, frame.f_lineno)}»"
        frame = frame.f_back
    return ""


def _refuse_io(name: str) -> Callable[..., Any]:
    def refuse(self: VirtualLoop, *args: Any, **options: Any) -> Any:
        self.ungated.append(f"loop.{name}(){_place_in_service()}")
        raise UngatedIO(
            f"the code under exploration called loop.{name}(): real I/O is not under control here. "
            f"Pass gate=SQLAlchemyGate(engine), AsyncpgGate() or RedisGate(), or replace it with a stub."
        )

    refuse.__name__ = name
    return refuse


for _method in _IO_METHODS:
    setattr(VirtualLoop, _method, _refuse_io(_method))


class entered:
    """Make a controlled loop the running one, also inside a running loop (a notebook, an async test)."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._outer = events._get_running_loop()
        # From Python 3.14 on a thread has one current task, not one for each loop: the task of the notebook
        # or test that explores is put aside, else no task of this loop could take a step.
        self._outer_task = None if self._outer is None else tasks.current_task(self._outer)
        if self._outer is not None and self._outer_task is not None:
            tasks._leave_task(self._outer, self._outer_task)
        self._hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self._loop)
        sys.set_asyncgen_hooks(firstiter=self._loop.generators.add, finalizer=self._finish_generator)

    def __exit__(self, *exc_info: object) -> None:
        sys.set_asyncgen_hooks(*self._hooks)
        events._set_running_loop(self._outer)
        if self._outer is not None and self._outer_task is not None:
            tasks._enter_task(self._outer, self._outer_task)

    def _finish_generator(self, generator: Any) -> None:
        # Only those of this run: left-overs of an earlier one must not act in a later one.
        if generator in self._loop.generators:
            self._loop.generators.discard(generator)
            self._loop.create_task(generator.aclose())
