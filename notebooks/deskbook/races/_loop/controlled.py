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

Below it stands `virtual` (queues and clock), and beside it `environment` (what may happen to the requests).
Around the requests of a run (startup, reset, check, cleaning up) nothing is chosen: `run_setup` and `finish`
run what is ready in the order of asyncio.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NoReturn

from deskbook.races import _frames as frames
from deskbook.races._errors import CutShort, Deadlock, Livelock
from deskbook.races._loop.environment import Environment
from deskbook.races._loop.task_steps import TASK_STEP, is_task_step, is_unstarted, ran_user_code
from deskbook.races._loop.threads.driver import run_controlled
from deskbook.races._loop.virtual import Handle, VirtualLoop
from deskbook.races._schedule import APP, Step
from deskbook.races._search.chooser import Chooser
from deskbook.races._subject.actors import REQUEST, Actors

#: Steps that tasks of the application (a queue worker) get after the last request, to finish what it left.
_MAX_TAIL_STEPS = 100

#: Steps before the end of a run that is too long in which its places are compared.
_WINDOW = 400

#: How often the same must be seen before it is called a repetition.
_ROUNDS = 3

#: Takes a step in place of the loop, which hands it the step, its task (if it has one) and how to take it.
OnStep = Callable[[Step, asyncio.Task[Any] | None, Callable[[], None]], None]


class ControlledLoop(VirtualLoop):
    """An event loop whose every step is chosen from outside.

    Args:
        max_steps: Steps of one run after which it counts as a livelock.
        explore_clock: Whether the clock may move while a request could run.

    Attributes:
        environment: What may happen to the requests.
        roots: Request -> its task.
        on_step: Takes the steps while a run is recorded.
        on_idle: Asked when only timers that repeat are left, or nothing: it may make something go on, and
            tells whether it did.
        repeats_at_the_end: Whether work that a request left behind went on and on and was left.
    """

    def __init__(self, *, max_steps: int = 2_000, explore_clock: bool = True) -> None:
        self._max_steps = max_steps
        self._window = min(_WINDOW, max_steps // 2)
        self.on_idle: Callable[[], bool] | None = None
        self._symmetry: tuple[tuple[Step, ...], ...] = ()
        self.on_step: OnStep | None = None
        super().__init__()
        self.environment = Environment(self, explore_clock=explore_clock)
        self.reset()

    def reset(self) -> None:
        """Forget the last run: an empty loop at the start of virtual time."""
        self.forget()
        self.environment.forget()
        self.exploring = False
        self.roots: dict[str, asyncio.Task[Any]] = {}
        self._steps_taken = 0
        self._unstarted: set[Step] = set()
        self._deferred: list[Handle] = []
        self._ready: dict[Step, tuple[Any, Handle, str]] = {}
        self._quiet: list[tuple[asyncio.Task[Any], Handle, str]] = []
        self._touched: dict[str, bool] = {}
        self._actors = Actors()
        self._anchors: dict[Any, Any] = {}
        self._tail_steps = 0
        self._recent: collections.deque[object] = collections.deque(maxlen=self._window)
        self._idle_places: collections.Counter[str] = collections.Counter()
        self.repeats_at_the_end = False

    def set_symmetry(self, groups: Sequence[Sequence[str]]) -> None:
        """Name identical requests: of those not started yet, only the first may start (see `symmetry`)."""
        self._symmetry = tuple(tuple(Step.of(name) for name in names) for names in groups)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run a function in a worker thread, line by line under control (see `threads`)."""
        return self.create_task(run_controlled(func, args))

    def wait_until(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """Return a future that is done as soon as `condition()` holds after a step."""
        return self.environment.wait_until(condition)

    # Around the requests: everything that is ready, in the order of asyncio.

    def run_setup(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end in the order of asyncio, with nothing explored.

        Raises:
            Deadlock: If it waits for something that never comes.
            Livelock: If it goes on for ever.
        """
        self.exploring = False
        task = self.create_task(coroutine)
        budget = 100 * self._max_steps
        while not task.done():
            if not self._run_everything_ready() and not self.fire_next_timer():
                _give_up_on(task)
                raise Deadlock("the code around the requests (startup, reset, check) waits for ever")
            budget -= 1
            if budget < 0:
                _give_up_on(task)
                raise Livelock("the code around the requests (startup, reset, check) never finishes")
        return task.result()

    def finish(self) -> None:
        """Cancel what is left of the run and let it end, so that nothing of it reaches the next one."""
        self.exploring = False
        for _ in range(20):
            # A task that is cancelled before its first step leaves a coroutine behind that was never awaited.
            if not any(not task.done() and is_unstarted(task) for task in self.tasks):
                break
            self._run_everything_ready()
        for _ in range(3):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            for _ in range(200):
                if not self._run_everything_ready():
                    break
        if self.generators:
            self._close_generators()
        for task in self.tasks:
            if not task.done():
                _give_up_on(task)
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

    def _run_everything_ready(self) -> bool:
        """Run what is queued now, in order; tell whether there was anything."""
        self._give_back()
        batch = list(self.incoming)
        self.incoming.clear()
        for handle in batch:
            if not handle.is_cancelled:
                self.run_handle(handle)
        return bool(batch)

    def _give_back(self) -> None:
        """Queue what an explored run held ready."""
        self.incoming.extend(handle for _, handle, _ in self._ready.values())
        self.incoming.extend(handle for _, handle, _ in self._quiet)
        self.incoming.extend(self._deferred)
        self._ready.clear()
        self._quiet.clear()
        self._deferred.clear()

    # The requests: one chosen step at a time.

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Add a request; its first step is a choice."""
        context = contextvars.copy_context()
        context.run(REQUEST.set, name)
        task = asyncio.Task(coroutine, loop=self, name=name, context=context)
        self.tasks.append(task)
        self.roots[name] = task
        self._unstarted.add(self._actors.add(task, name))

    def run_requests(
        self, chooser: Chooser, *, cancellable: Sequence[str] = (), jumps_s: Sequence[float] = ()
    ) -> None:
        """Run the spawned requests to their end, every step chosen by `chooser`.

        After the last request the work that it left behind (background tasks) is run too, explored like the
        rest.

        Args:
            chooser: Chooses every step.
            cancellable: Requests whose task may be cancelled.
            jumps_s: Seconds that the clock may jump.

        Raises:
            Deadlock: If requests are left that wait for one another.
            Livelock: After `max_steps` steps.
        """
        self.environment.allow(cancellable, jumps_s)
        self.exploring = True
        try:
            self._drive(chooser)
        finally:
            self.exploring = False

    def _drive(self, chooser: Chooser) -> None:
        # The inner loop of every search: what nearly every step needs is written out, the rest is called.
        ready, quiet, incoming, deferred = self._ready, self._quiet, self.incoming, self._deferred
        unstarted, touched, timers, roots = self._unstarted, self._touched, self.timers, self.roots
        choose, max_steps, last_child = chooser.choose, self._max_steps, self._actors.last_child
        environment = self.environment
        conditions, jumps = environment.conditions, environment.jumps
        cancellations = environment.cancellations
        watch_from = max_steps - self._window
        while True:
            if conditions:
                environment.check_conditions()
            if incoming:
                self._drain()
            if quiet and self._run_a_quiet_task():
                continue
            options = list(ready)
            if unstarted and self._symmetry:
                options = self._first_of_equals(options)
            if quiet:
                step_of = self._actors.step_of
                options.extend(step_of(task, request) for task, _, request in quiet)
            if APP in last_child and options and self._only_app_work_left(options):
                return
            if timers or jumps or cancellations or not options:
                requests_left = self._requests_left()
                if not options and timers and self._only_repeats(requests_left):
                    if requests_left and self.on_idle is not None and self.on_idle():
                        continue
                    if not requests_left:
                        self.repeats_at_the_end = True
                        return
                if not requests_left and not options and not self._children_wait():
                    return
                environment.add_steps(options, roots=roots, unstarted=unstarted, requests_left=requests_left)
                if not options:
                    if deferred:
                        incoming.extend(deferred)
                        deferred.clear()
                        self._count_step()
                        continue
                    if not requests_left:
                        return
                    if self.on_idle is not None and self.on_idle():
                        continue
                    raise Deadlock(self._describe_blocked())
            self._steps_taken += 1
            if self._steps_taken > max_steps:
                self._give_up()
            step = choose(options, self)
            if self._steps_taken > watch_from:
                self._recent.append((step, self._state_of(step)))
            entry = ready.pop(step, None)
            if entry is None:
                self._take(step, chooser)
            else:
                owner, handle, request = entry
                unstarted.discard(step)
                touched[request] = True
                if self.on_step is None:
                    self.run_handle(handle)
                else:
                    task = owner if isinstance(owner, asyncio.Task) else None
                    self.on_step(step, task, functools.partial(self.run_handle, handle))
            if deferred:
                incoming.extend(deferred)
                deferred.clear()

    def _requests_left(self) -> bool:
        for task in self.roots.values():  # a plain loop: this is asked at most steps  # noqa: SIM110
            if not task.done():
                return True
        return False

    def _children_wait(self) -> bool:
        """Tell whether work that requests left behind goes on at a timer of theirs."""
        return any(
            not handle.is_cancelled and handle.context is not None and handle.context.get(REQUEST) is not None
            for _, _, handle in self.timers
        )

    def _first_of_equals(self, options: list[Step]) -> list[Step]:
        for steps in self._symmetry:
            waiting = [step for step in steps if step in self._unstarted]
            for step in waiting[1:]:
                if step in options:
                    options.remove(step)
        return options

    def _count_step(self) -> None:
        self._steps_taken += 1
        if self._steps_taken > self._max_steps:
            self._give_up()

    def _give_up(self) -> NoReturn:
        where = self._describe_blocked() or "work that the requests left behind"
        if self._is_going_round() and self._requests_left():
            most = f"{self._max_steps:,} steps in a fair order"
            raise Livelock(f"the requests still run after {most}: {where}")
        raise CutShort(
            f"a run was cut after {self._max_steps:,} steps, at {where}; it says nothing. Pass a higher "
            f"max_steps=, or explore something smaller"
        )

    def _is_going_round(self) -> bool:
        """Tell whether the last steps were taken at the same places, with the same variables, all over again.

        Long work is no livelock: each of its steps is taken at another place, or something is counted.
        """
        counts = collections.Counter(self._recent)
        last = list(self._recent)[-max(1, len(self._recent) // 4) :]
        return bool(last) and all(counts[entry] >= _ROUNDS for entry in last)

    def _state_of(self, step: Step) -> object:
        """Return where an actor stands and what its variables hold, as far as that can be compared."""
        entry = self._ready.get(step)
        if entry is None or not isinstance(entry[0], asyncio.Task):
            return step
        found: list[object] = []
        for frame in frames.await_chain(entry[0].get_coro()):
            if frame is not None and frames.kind_of_file(frame.f_code.co_filename) == frames.USER:
                stand_in = frames.stand_in_of(frame)
                driven = frame if stand_in is None else getattr(stand_in, "frame", None)
                found.append((frame.f_code, frame.f_lasti) if stand_in is None else stand_in.place)
                found.extend(_comparable(driven.f_locals) if driven is not None else ())
        return tuple(found)

    def _only_repeats(self, requests_left: bool) -> bool:
        """Tell whether nothing can run but timers, and those lead to the same places again and again."""
        waiting = "; ".join(
            f"{step} {frames.position(owner)}"
            for owner, step in self._actors.steps.items()
            if isinstance(owner, asyncio.Task) and not owner.done() and (requests_left or step.request != APP)
        )
        self._idle_places[waiting] += 1
        return self._idle_places[waiting] > _ROUNDS

    def _describe_blocked(self) -> str:
        return "; ".join(
            f"{name} at «{self._place_of_request(name)}»"
            for name, task in self.roots.items()
            if not task.done()
        )

    def _place_of_request(self, name: str) -> str:
        """Return where a request waits: the place of a task that it started, where it waits for that one."""
        place = frames.position(self.roots[name])
        if place == frames.NO_PLACE:
            for owner, step in reversed(self._actors.steps.items()):
                if step.request == name and isinstance(owner, asyncio.Task) and not owner.done():
                    inner = frames.position(owner)
                    if inner != frames.NO_PLACE:
                        return inner
        return place

    def _drain(self) -> None:
        """Run callbacks of the libraries at once, and sort tasks by where they stand."""
        incoming, ready, unstarted = self.incoming, self._ready, self._unstarted
        actors, known = self._actors, self._actors.steps
        stands_in_user_code, anchors = frames.stands_in_user_code, self._anchors
        seen: set[Any] | None = None
        while incoming:
            handle = incoming.popleft()
            if handle.is_cancelled:
                continue
            callback = handle.callback
            task: Any = getattr(callback, "__self__", None)
            if type(callback) is TASK_STEP or (isinstance(task, asyncio.Task) and is_task_step(callback)):
                step = known.get(task)
                if step is not None and step in unstarted:
                    ready[step] = (task, handle, step.request)
                elif stands_in_user_code(task, anchors):
                    request = _request_of(handle)
                    ready[step or actors.step_of(task, request)] = (task, handle, request)
                else:
                    self._quiet.append((task, handle, _request_of(handle)))
            elif frames.kind_of_callback(callback) == frames.USER:
                request = _request_of(handle)
                ready[actors.step_of(handle, request)] = (handle, handle, request)
            else:
                key = (getattr(callback, "__func__", callback), id(task))
                seen = set() if seen is None else seen
                if key in seen:
                    self._deferred.append(handle)
                    continue
                seen.add(key)
                self.run_handle(handle)

    def _run_a_quiet_task(self) -> bool:
        """Let one task in framework code run on, if nothing of its request waits to be separated from it."""
        for index, (task, handle, request) in enumerate(self._quiet):
            if not self._touched.get(request):
                del self._quiet[index]
                self._touched[request] = ran_user_code(task, functools.partial(self.run_handle, handle))
                self._count_step()
                return True
        return False

    def _only_app_work_left(self, options: Sequence[Step]) -> bool:
        """Tell whether the requests are done and a task of the application itself goes on and on."""
        if any(step.request != APP for step in options) or self._requests_left():
            return False
        self._tail_steps += 1
        return self._tail_steps > _MAX_TAIL_STEPS

    def _take(self, step: Step, chooser: Chooser) -> None:
        """Take a step that no ready actor stands for: a task in framework code, or the environment."""
        for index, (task, handle, request) in enumerate(self._quiet):
            if self._actors.steps.get(task) is step:
                del self._quiet[index]
                self._take_quiet(step, task, handle, request, chooser)
                return
        if self.on_step is None:
            self.environment.take(step, self.roots)
        else:
            self.on_step(step, None, functools.partial(self.environment.take, step, self.roots))

    def _take_quiet(
        self, step: Step, task: asyncio.Task[Any], handle: Handle, request: str, chooser: Chooser
    ) -> None:
        is_visible = False

        def run() -> None:
            nonlocal is_visible
            is_visible = ran_user_code(task, functools.partial(self.run_handle, handle))

        if self.on_step is None:
            run()
        else:
            self.on_step(step, task, run)
        if not is_visible:
            # The request stays touched: this choice is forgotten, so it separates nothing.
            chooser.step_was_invisible()

    def place_of(self, step: Step) -> object:
        """Return where a ready actor stands: the code and the instruction of its user frame."""
        entry = self._ready.get(step)
        if entry is None or not isinstance(entry[0], asyncio.Task):
            return step
        for frame in reversed(frames.await_chain(entry[0].get_coro())):
            if frame is not None and frames.kind_of_file(frame.f_code.co_filename) == frames.USER:
                stand_in = frames.stand_in_of(frame)
                return (frame.f_code, frame.f_lasti) if stand_in is None else stand_in.place
        return step


# Whoever walks up a stack stops here: what stands below belongs to the caller of the explorer.
frames.set_floor(ControlledLoop._drive)


def _request_of(handle: Handle) -> str:
    return (handle.context.get(REQUEST) if handle.context is not None else None) or APP


def _comparable(variables: Mapping[str, Any]) -> list[object]:
    """Return variables in a form that can be compared and counted: plain values, and which object it is."""
    plain = (bool, int, float, str, bytes, type(None))
    return [(name, value if isinstance(value, plain) else id(value)) for name, value in variables.items()]


def _give_up_on(task: asyncio.Task[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
