"""The controlled event loop: it runs real asyncio tasks, one chosen step at a time.

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

The classes below it: `base_loop` (queues and clock), `unexplored` (what runs around the requests),
`environment` (the clock and cancellations).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

from . import frames
from .base_loop import Handle
from .chooser import REQUEST, Chooser
from .environment import EnvironmentLoop
from .errors import Deadlock, Livelock
from .schedule import APP
from .steps import TASK_STEP, is_task_step, letters, ran_user_code

#: Steps that tasks of the application (a queue worker) get after the last request, to finish what it left.
_MAX_TAIL_STEPS = 100

#: How the names of the application's own tasks begin.
APP_TASKS = APP + "."


class ControlledLoop(EnvironmentLoop):
    """An event loop whose every step is chosen from outside.

    Args:
        max_steps: steps of one run after which it counts as a livelock.
        explore_clock: whether the clock may move while a request could run.
    """

    def __init__(self, *, max_steps: int = 2_000, explore_clock: bool = True) -> None:
        self.on_step: Callable[[str, asyncio.Task[Any] | None, Callable[[], None]], None] | None = None
        super().__init__(max_steps, explore_clock=explore_clock)
        self.reset()

    def reset(self) -> None:
        """Forget the last run: an empty loop at the start of virtual time."""
        self.forget()
        self.forget_environment()
        self.steps = 0
        self.exploring = False
        self._deferred: list[Handle] = []
        self._ready: dict[str, tuple[Any, Handle, str]] = {}
        self._quiet: list[tuple[asyncio.Task[Any], Handle, str]] = []
        self._touched: dict[str, bool] = {}
        self._names: dict[Any, str] = {}
        self._anchors: dict[Any, Any] = {}
        self._children: dict[str, int] = {}
        self._tail_steps = 0

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
        self._touched.clear()
        super().finish()

    def _requeue(self) -> None:
        self._incoming.extend(handle for _, handle, _ in self._ready.values())
        self._incoming.extend(handle for _, handle, _ in self._quiet)
        self._incoming.extend(self._deferred)
        self._ready.clear()
        self._quiet.clear()
        self._deferred.clear()

    def _drive(self, chooser: Chooser) -> None:
        # The inner loop of every search: what nearly every step needs is written out, the rest is called.
        ready, quiet, incoming, deferred = self._ready, self._quiet, self._incoming, self._deferred
        unstarted, touched, timers = self._unstarted, self._touched, self._timers
        choose, max_steps, children = chooser.choose, self.max_steps, self._children
        while True:
            if self._conditions:
                self._check_conditions()
            if incoming:
                self._drain()
            if quiet and self._run_a_quiet_task():
                continue
            options = list(ready)
            if unstarted and self._symmetry:
                options = self._first_of_equals(options)
            if quiet:
                options.extend(self._name(task, request) for task, _, request in quiet)
            runnable = bool(options)
            if APP in children and runnable and self._only_app_work_left(options):
                return
            if timers or self._clock_jumps or self._cancellable or not runnable:
                if not self._requests_left() and not self._children_left(runnable):
                    return
                self._add_environment(options, runnable)
                if not options:
                    if deferred:
                        incoming.extend(deferred)
                        deferred.clear()
                        self._count_step()
                        continue
                    if not self._requests_left():
                        return
                    raise Deadlock(self._describe_blocked())
            self.steps += 1
            if self.steps > max_steps:
                self._give_up()
            step = choose(options, self)
            entry = ready.pop(step, None)
            if entry is None:
                self._take(step)
            else:
                owner, handle, request = entry
                unstarted.discard(step)
                touched[request] = True
                if self.on_step is None:
                    self._run(handle)
                else:
                    task = owner if isinstance(owner, asyncio.Task) else None
                    self.on_step(step, task, functools.partial(self._run, handle))
            if deferred:
                incoming.extend(deferred)
                deferred.clear()

    _symmetry: tuple[tuple[str, ...], ...] = ()

    def set_symmetry(self, classes: Sequence[Sequence[str]]) -> None:
        """Name identical requests: of those not started yet, only the first may start (see `symmetry`)."""
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
            self._give_up()

    def _give_up(self) -> NoReturn:
        most = f"{self.max_steps:,} steps in a fair order"
        raise Livelock(f"the requests still run after {most}: {self._describe_blocked()}")

    def _drain(self) -> None:
        """Run callbacks of the libraries at once, and sort tasks by where they stand."""
        incoming, ready, names, unstarted = self._incoming, self._ready, self._names, self._unstarted
        stands_in_user_code, anchors = frames.stands_in_user_code, self._anchors
        seen: set[Any] | None = None
        while incoming:
            handle = incoming.popleft()
            if handle.is_cancelled:
                continue
            callback = handle.callback
            task: Any = getattr(callback, "__self__", None)
            if type(callback) is TASK_STEP or (isinstance(task, asyncio.Task) and is_task_step(callback)):
                name = names.get(task)
                if name in unstarted:
                    ready[name] = (task, handle, name)
                elif stands_in_user_code(task, anchors):
                    request = self._request_of(handle)
                    ready[name or self._name(task, request)] = (task, handle, request)
                else:
                    self._quiet.append((task, handle, self._request_of(handle)))
            elif frames.kind_of_callback(callback) == frames.USER:
                request = self._request_of(handle)
                ready[self._name(handle, request)] = (handle, handle, request)
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
        """Let one task in framework code run on, if nothing of its request waits to be separated from it."""
        for index, (task, handle, request) in enumerate(self._quiet):
            if not self._touched.get(request):
                del self._quiet[index]
                self._touched[request] = ran_user_code(task, functools.partial(self._run, handle))
                self._count_step()
                return True
        return False

    def _only_app_work_left(self, options: list[str]) -> bool:
        """Tell whether the requests are done and a task of the application itself goes on and on."""
        if not options[0].startswith(APP_TASKS) or self._requests_left():
            return False
        if not all(name.startswith(APP_TASKS) for name in options):
            return False
        self._tail_steps += 1
        return self._tail_steps > _MAX_TAIL_STEPS

    def _take(self, step: str) -> None:
        """Take a step that no ready actor stands for: a task in framework code, or the environment."""
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
        is_visible = False

        def run() -> None:
            nonlocal is_visible
            is_visible = ran_user_code(task, functools.partial(self._run, handle))

        if self.on_step is None:
            run()
        else:
            self.on_step(step, task, run)
        if not is_visible:
            # The request stays touched: this choice is forgotten, so it separates nothing.
            self._chooser.step_was_invisible()

    def place_of(self, step: str) -> object:
        """Return where a ready actor stands: the code and the instruction of its user frame."""
        entry = self._ready.get(step)
        if entry is None or not isinstance(entry[0], asyncio.Task):
            return step
        for frame in reversed(frames.await_chain(entry[0].get_coro())):
            if frame is not None and frames.kind_of_file(frame.f_code.co_filename) == frames.USER:
                call = frames.call_of_thread(frame)
                return (frame.f_code, frame.f_lasti) if call is None else call.place
        return step
