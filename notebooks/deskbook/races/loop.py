"""The controlled event loop: it runs real asyncio tasks, one step at a time, in the order that a search
chooses.

The idea is that of CHESS (OSDI 2008), loom (Rust) and shuttle (Rust): take the scheduler away from the
runtime and every run becomes a function of a list of choices. Here the scheduler is an event loop, so nothing
of asyncio is replaced: tasks, futures, locks, queues, task groups and timeouts are the real ones. They ask
the loop for three things only (`call_soon`, `call_at`, `time`), and this loop answers them from plain lists.

What may be chosen:

* **a task that stands in user code** (`frames.stands_in_user_code`). Tasks of one request that stand in the
  frameworks' code run on by themselves, unless user code of that request ran since its last choice: two
  pieces of user code are never glued together across a suspension. So one `BaseHTTPMiddleware` costs three
  choices, not thousands.
* **the clock**, when a timer is pending, also while requests could run: a late arrival is a schedule too.
* **a cancellation** of a request that was named as cancellable, once, after its start.

Callbacks of asyncio and anyio run at once; they only make other tasks ready. A callback that re-schedules
itself (anyio delivers a cancellation that way) waits for the next step, else the drain would never end. A
callback that is the user's own is a choice like a task.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import heapq
import inspect
import sys
import weakref
from asyncio import events
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from . import frames
from .errors import Deadlock, Livelock, UngatedIO
from .schedule import APP, CLOCK, cancel_step

#: The request that a piece of work belongs to; tasks inherit it from the task that creates them.
REQUEST: contextvars.ContextVar[str | None] = contextvars.ContextVar("deskbook_races_request", default=None)

#: Where the virtual clock starts. Not 0: services compare against a stamp of 0 that means "never".
EPOCH_S = 1_000_000.0


#: Steps that tasks of the application (a queue worker) get after the last request, to finish what it left.
_MAX_TAIL_STEPS = 100


class Chooser(Protocol):
    """Decides which of several possible steps is taken."""

    def choose(self, options: Sequence[str], loop: ControlledLoop) -> str:
        """Return one of `options`; called for every step, also where there is one option only."""
        ...

    def step_was_invisible(self) -> None:
        """Learn that the step that was chosen last ran no user code, so that its place does not matter."""


class Handle:
    """A scheduled callback: what `asyncio.Handle` and `asyncio.TimerHandle` offer, without their debug parts."""

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


class ControlledLoop(asyncio.AbstractEventLoop):
    """An event loop whose every step is chosen from outside.

    Args:
        max_steps: steps of one run after which it counts as a livelock.
        explore_clock: whether the clock may move while a request could run.
    """

    def __init__(self, *, max_steps: int = 2_000, explore_clock: bool = True) -> None:
        self.max_steps = max_steps
        self.explore_clock = explore_clock
        self.ungated: list[str] = []
        self.on_step: Callable[[str, asyncio.Task[Any] | None, Callable[[], None]], None] | None = None
        self._sequence = 0
        self._closed = False
        self._task_factory: Any = None
        self._exception_handler: Any = None
        self.reset()

    def reset(self) -> None:
        """Forget the last run: an empty loop at the start of virtual time."""
        self.now_s = EPOCH_S
        self.steps = 0
        self.exploring = False
        self.clock_was_held_back = False
        self.roots: dict[str, asyncio.Task[Any]] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        self.callback_errors: list[BaseException] = []
        self._incoming: collections.deque[Handle] = collections.deque()
        self._deferred: list[Handle] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._ready: dict[str, tuple[Any, Handle]] = {}
        self._quiet: list[tuple[asyncio.Task[Any], Handle, str]] = []
        self._touched: dict[str, bool] = {}
        self._names: dict[Any, str] = {}
        self._children: dict[str, int] = {}
        self._cancellable: list[str] = []
        self._clock_jumps: list[float] = []
        self._unstarted: set[str] = set()
        self.generators: weakref.WeakSet[Any] = weakref.WeakSet()
        self._tail_steps = 0
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    # What asyncio asks of a loop.

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now_s

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        """Queue a callback, as `asyncio` does."""
        handle = Handle(callback, args, context if context is not None else contextvars.copy_context(), 0.0)
        self._incoming.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        """Queue a callback for a moment of virtual time."""
        handle = Handle(callback, args, context if context is not None else contextvars.copy_context(), when)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, handle))
        return handle

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        """Queue a callback for `delay` seconds of virtual time from now."""
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Start a task; `eager_start` is not honoured, a start is a step like any other."""
        options.pop("eager_start", None)
        if self._task_factory is not None:
            task: asyncio.Task[Any] = self._task_factory(self, coro, **options)
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

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Run a function in a worker thread, line by line under control (see `threads`)."""
        from .threads import run_controlled

        return self.create_task(run_controlled(func, args))

    def wait_until(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """Return a future that is done as soon as `condition()` holds after a step."""
        future: asyncio.Future[None] = asyncio.Future(loop=self)
        self._conditions.append((condition, future))
        return future

    def _check_conditions(self) -> None:
        left = []
        for condition, future in self._conditions:
            if future.done():
                continue
            if condition():
                future.set_result(None)
            else:
                left.append((condition, future))
        self._conditions = left

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
        self.reset()
        self._closed = True

    def stop(self) -> None:
        """Refuse: the search decides when a run ends."""
        raise RuntimeError("loop.stop() cannot be called in code that is explored")

    async def shutdown_asyncgens(self) -> None:
        """Do nothing: generators are finished at the end of each run."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
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

    # Running.

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Add a request; its first step is a choice."""
        context = contextvars.copy_context()
        context.run(REQUEST.set, name)
        task = asyncio.Task(coroutine, loop=self, name=name, context=context)
        self.tasks.append(task)
        self.roots[name] = task
        self._names[task] = name
        self._unstarted.add(name)
        return task

    def run_setup(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end in the order of asyncio, with nothing explored.

        Raises:
            Deadlock: if it waits for something that never comes.
        """
        self.exploring = False
        task = self.create_task(coroutine)
        budget = 100 * self.max_steps
        while not task.done():
            if not self._run_everything_ready():
                if not self._fire_next_timer():
                    self._forget(task)
                    raise Deadlock("the code around the requests (startup, reset, check) waits for ever")
            budget -= 1
            if budget < 0:
                self._forget(task)
                raise Livelock("the code around the requests (startup, reset, check) never finishes")
        return task.result()

    def run_requests(
        self, chooser: Chooser, *, cancellable: Sequence[str] = (), clock_jumps: Sequence[float] = ()
    ) -> None:
        """Run the spawned requests to their end, every step chosen by `chooser`.

        After the last request the work that it left behind (background tasks) is run too, explored like the
        rest.

        Raises:
            Deadlock: if requests are left that wait for one another.
            Livelock: after `max_steps` steps.
        """
        self._cancellable = list(cancellable)
        self._clock_jumps = list(clock_jumps)
        self._chooser = chooser
        self.exploring = True
        try:
            self._drive(chooser)
        finally:
            self.exploring = False

    def finish(self) -> None:
        """Cancel what is left of the run and let it end, so that nothing of it reaches the next one."""
        self.exploring = False
        self._touched.clear()
        for _ in range(20):
            # A task that is cancelled before its first step leaves a coroutine behind that was never awaited.
            if not any(not task.done() and _is_unstarted(task) for task in self.tasks):
                break
            self._run_everything_ready()
        for _ in range(3):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            self._requeue()
            for _ in range(200):
                if not self._run_everything_ready():
                    break
        if self.generators:
            self._close_generators()
        for task in self.tasks:
            if not task.done():
                self._forget(task)
            elif not task.cancelled():
                task.exception()  # mark it as seen: asyncio would log "never retrieved"

    def _close_generators(self) -> None:
        for generator in list(self.generators):
            if not generator.ag_running:
                self.create_task(generator.aclose())
        for _ in range(50):
            if not self._run_everything_ready():
                break
        self.generators.clear()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        task._log_destroy_pending = False  # type: ignore[attr-defined]

    def _requeue(self) -> None:
        self._incoming.extend(handle for _, handle in self._ready.values())
        self._incoming.extend(handle for _, handle, _ in self._quiet)
        self._incoming.extend(self._deferred)
        self._ready.clear()
        self._quiet.clear()
        self._deferred.clear()

    def _run_everything_ready(self) -> bool:
        """Run what is queued now, in order; tell whether there was anything."""
        self._requeue()
        batch = list(self._incoming)
        self._incoming.clear()
        for handle in batch:
            if not handle.is_cancelled:
                self._run(handle)
        return bool(batch)

    def _run(self, handle: Handle) -> None:
        try:
            handle.context.run(handle.callback, *handle.args)  # type: ignore[union-attr]
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.callback_errors.append(error)
            self.call_exception_handler({"message": "exception in callback", "exception": error})

    def _drive(self, chooser: Chooser) -> None:
        ready = self._ready
        while True:
            if self._conditions:
                self._check_conditions()
            self._drain()
            if self._quiet and self._run_a_quiet_task():
                continue
            options = list(ready)
            if self._unstarted and self._symmetry:
                options = self._first_of_equals(options)
            if self._quiet:
                options.extend(self._name(task, request) for task, _, request in self._quiet)
            runnable = bool(options)
            if runnable and self._only_app_work_left(options):
                return
            if self._timers or self._clock_jumps or self._cancellable or not runnable:
                if not self._requests_left() and not self._children_left(runnable):
                    return
                self._add_environment(options, runnable)
                if not options:
                    if self._deferred:
                        self._incoming.extend(self._deferred)
                        self._deferred.clear()
                        self._count_step()
                        continue
                    if not self._requests_left():
                        return
                    raise Deadlock(self._describe_blocked())
            self._count_step()
            self._take(chooser.choose(options, self))
            if self._deferred:
                self._incoming.extend(self._deferred)
                self._deferred.clear()

    _symmetry: tuple[tuple[str, ...], ...] = ()

    def set_symmetry(self, classes: Sequence[Sequence[str]]) -> None:
        """Name requests that are identical: of those not started yet, only the first may start (see `symmetry`)."""
        self._symmetry = tuple(tuple(names) for names in classes)

    def _first_of_equals(self, options: list[str]) -> list[str]:
        for names in self._symmetry:
            waiting = [name for name in names if name in self._unstarted]
            for name in waiting[1:]:
                if name in options:
                    options.remove(name)
        return options

    def _count_step(self) -> None:
        self.steps += 1
        if self.steps > self.max_steps:
            raise Livelock(
                f"the requests still run after {self.max_steps:,} steps in a fair order: {self._describe_blocked()}"
            )

    def _drain(self) -> None:
        """Run callbacks of the libraries at once, and sort tasks by where they stand."""
        incoming = self._incoming
        seen: set[Any] | None = None
        while incoming:
            handle = incoming.popleft()
            if handle.is_cancelled:
                continue
            callback = handle.callback
            task = getattr(callback, "__self__", None)
            if isinstance(task, asyncio.Task) and _is_task_step(callback):
                name = self._names.get(task)
                if name is not None and name in self._unstarted:
                    self._ready[name] = (task, handle)
                elif frames.stands_in_user_code(task):
                    self._ready[name or self._name(task, self._request_of(handle))] = (task, handle)
                else:
                    self._quiet.append((task, handle, self._request_of(handle)))
            elif frames.kind_of_callback(callback) == frames.USER:
                self._ready[self._name(handle, self._request_of(handle))] = (handle, handle)
            else:
                key = (getattr(callback, "__func__", callback), id(task))
                seen = set() if seen is None else seen
                if key in seen:
                    self._deferred.append(handle)
                    continue
                seen.add(key)
                self._run(handle)

    def _request_of(self, handle: Handle) -> str:
        return (handle.context.get(REQUEST) if handle.context is not None else None) or APP

    def _name(self, owner: Any, request: str) -> str:
        name = self._names.get(owner)
        if name is None:
            number = self._children[request] = self._children.get(request, -1) + 1
            name = self._names[owner] = f"{request}.{letters(number)}"
        return name

    def _run_a_quiet_task(self) -> bool:
        """Let one task in framework code run on, if no user code of its request waits to be separated from it."""
        for index, (task, handle, request) in enumerate(self._quiet):
            if not self._touched.get(request):
                del self._quiet[index]
                self._touched[request] = self._run_watching_for_user_code(task, handle)
                self._count_step()
                return True
        return False

    def _run_watching_for_user_code(self, task: asyncio.Task[Any], handle: Handle) -> bool:
        """Run one step that starts in framework code; tell whether any user code ran in it."""
        previous = sys.getprofile()
        if previous is not None:  # somebody else watches: assume the worse case
            self._run(handle)
            return True
        before = frames.await_chain(task.get_coro())
        standing = {id(frame) for frame in before}
        entered = False

        def watch(frame: Any, event: str, arg: Any) -> None:
            nonlocal entered
            if (
                event == "call"
                and not entered
                and id(frame) not in standing
                and frames.kind_of_frame(frame) == frames.USER
            ):
                entered = True

        sys.setprofile(watch)
        try:
            self._run(handle)
        finally:
            sys.setprofile(None)
        return entered or _user_frames_moved(before, frames.await_chain(task.get_coro()))

    def _requests_left(self) -> bool:
        return not all(task.done() for task in self.roots.values())

    def _only_app_work_left(self, options: list[str]) -> bool:
        """Tell whether the requests are done and a task of the application itself goes on and on."""
        if self._requests_left() or not all(name.startswith(APP + ".") for name in options):
            return False
        self._tail_steps += 1
        return self._tail_steps > _MAX_TAIL_STEPS

    def _children_left(self, runnable: bool) -> bool:
        """Tell whether work that requests left behind can still run: ready now, or at a timer that belongs to it."""
        if runnable:
            return True
        return any(
            not handle.is_cancelled and handle.context is not None and handle.context.get(REQUEST)
            for _, _, handle in self._timers
        )

    def _add_environment(self, options: list[str], runnable: bool) -> None:
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        if timers:
            if self.explore_clock or not runnable:
                options.append(CLOCK)
            else:
                self.clock_was_held_back = True
        if self._requests_left():
            options.extend(f"{CLOCK}+{jump:g}" for jump in dict.fromkeys(self._clock_jumps) if runnable)
            if options:
                options.extend(
                    cancel_step(name)
                    for name in self._cancellable
                    if name not in self._unstarted and not self.roots[name].done()
                )

    def _take(self, step: str) -> None:
        entry = self._ready.pop(step, None)
        if entry is not None:
            owner, handle = entry
            self._unstarted.discard(step)
            self._touched[step.partition(".")[0]] = True
            if self.on_step is None:
                self._run(handle)
            else:
                task = owner if isinstance(owner, asyncio.Task) else None
                self.on_step(step, task, lambda: self._run(handle))
            return
        for index, (task, handle, request) in enumerate(self._quiet):
            if self._names.get(task) == step:
                del self._quiet[index]
                self._take_quiet(step, task, handle, request)
                return
        if self.on_step is None:
            self._change_environment(step)
        else:
            self.on_step(step, None, lambda: self._change_environment(step))

    def _take_quiet(self, step: str, task: asyncio.Task[Any], handle: Handle, request: str) -> None:
        ran_user_code = False

        def run() -> None:
            nonlocal ran_user_code
            ran_user_code = self._run_watching_for_user_code(task, handle)

        if self.on_step is None:
            run()
        else:
            self.on_step(step, task, run)
        if not ran_user_code:
            # The request stays touched: this choice is forgotten, so it separates nothing.
            self._chooser.step_was_invisible()

    def _change_environment(self, step: str) -> None:
        if step == CLOCK:
            self._fire_next_timer()
        elif step.startswith(CLOCK):
            jump = next(jump for jump in self._clock_jumps if f"{CLOCK}+{jump:g}" == step)
            self._clock_jumps.remove(jump)
            self.advance(jump)
        else:
            name = step[7:-1]
            self._cancellable.remove(name)
            self.roots[name].cancel()

    def advance(self, seconds: float) -> None:
        """Move the clock; timers that are due become callbacks."""
        self.now_s += seconds
        self._fire_due()

    def _fire_next_timer(self) -> bool:
        """Move the clock to the next timer that was not cancelled; tell whether there was one."""
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        if not timers:
            return False
        self.now_s = max(self.now_s, timers[0][0])
        self._fire_due()
        return True

    def _fire_due(self) -> None:
        while self._timers and self._timers[0][0] <= self.now_s:
            handle = heapq.heappop(self._timers)[2]
            if not handle.is_cancelled:
                self._incoming.append(handle)

    def place_of(self, step: str) -> object:
        """Return where an actor that is ready to run stands: the code and the instruction of its user frame."""
        entry = self._ready.get(step)
        if entry is None or not isinstance(entry[0], asyncio.Task):
            return step
        for frame in reversed(frames.await_chain(entry[0].get_coro())):
            if frame is not None and frames.kind_of_file(frame.f_code.co_filename) == frames.USER:
                call = frames.call_of_thread(frame)
                return (frame.f_code, frame.f_lasti) if call is None else call.place
        return step

    def _describe_blocked(self) -> str:
        waiting = [
            f"{name} at «{frames.position(task)}»" for name, task in self.roots.items() if not task.done()
        ]
        return "; ".join(waiting)


def _user_frames_moved(before: list[Any], after: list[Any]) -> bool:
    """Tell whether a user frame that was waiting in the chain ran on: it no longer awaits the same inner frame."""
    for index, frame in enumerate(before):
        if frame is not None and frames.kind_of_file(frame.f_code.co_filename) == frames.USER:
            pair = before[index : index + 2]
            if len(pair) < 2 or not _same_frames(pair, after[index : index + 2]):
                return True
    return False


def _same_frames(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(one is other for one, other in zip(left, right, strict=True))


def _is_task_step(callback: Any) -> bool:
    name = getattr(callback, "__name__", None)
    return name is None or name in _TASK_STEP_NAMES


def _is_unstarted(task: asyncio.Task[Any]) -> bool:
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


_TASK_STEP_NAMES = frozenset(
    {"task_wakeup", "__wakeup", "__step", "_Task__wakeup", "_Task__step", "TaskWakeupMethWrapper"}
)

_IO_METHODS = (
    "add_reader", "add_writer", "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe",
    "create_connection", "create_datagram_endpoint", "create_server", "create_unix_connection",
    "create_unix_server", "getaddrinfo", "getnameinfo", "sendfile", "sock_accept", "sock_connect", "sock_recv",
    "sock_recv_into", "sock_recvfrom", "sock_sendall", "sock_sendfile", "sock_sendto", "start_tls",
    "subprocess_exec", "subprocess_shell",
)  # fmt: skip


def _refuse_io(name: str) -> Callable[..., Any]:
    def refuse(self: ControlledLoop, *args: Any, **options: Any) -> Any:
        self.ungated.append(f"loop.{name}()")
        raise UngatedIO(
            f"the code under exploration called loop.{name}(): real I/O is not under the explorer's control here. "
            f"Pass gate=SQLAlchemyGate(engine), AsyncpgGate() or RedisGate(), or replace it with a stub."
        )

    refuse.__name__ = name
    return refuse


for _method in _IO_METHODS:
    setattr(ControlledLoop, _method, _refuse_io(_method))


class entered:
    """Make a controlled loop the running one, also inside a running loop (a notebook, an async test)."""

    def __init__(self, loop: ControlledLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._outer = events._get_running_loop()
        self._hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self._loop)
        sys.set_asyncgen_hooks(firstiter=self._loop.generators.add, finalizer=self._finish_generator)

    def __exit__(self, *exc_info: object) -> None:
        sys.set_asyncgen_hooks(*self._hooks)
        events._set_running_loop(self._outer)

    def _finish_generator(self, generator: Any) -> None:
        # Only those of this run: left-overs of an earlier one must not act in a later one.
        if generator in self._loop.generators:
            self._loop.generators.discard(generator)
            self._loop.create_task(generator.aclose())
