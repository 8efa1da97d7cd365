"""Runs a schedule once more and notes it: lines, reads and writes, the observed state after each step."""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._loop.accesses import READ, WRITE, accesses_of_line
from deskbook.races._loop.runner import InProcess
from deskbook.races._loop.threads import ControlledCall
from deskbook.races._loop.waits import LockTable
from deskbook.races._schedule import Schedule, Step
from deskbook.races._search.frontier import Follow, Lenient
from deskbook.races._search.judges import Judge
from deskbook.races._story.outcome import Failure, default_state, describe
from deskbook.races._story.recorded_step import RecordedStep
from deskbook.races._story.report import Counterexample
from deskbook.races._story.timeline import Timeline, flat
from deskbook.races._subject.actors import REQUEST


def record(
    runner: InProcess, judge: Judge, steps: Sequence[Step], *, strict: bool = True, by_hand: bool = False
) -> tuple[Counterexample, Failure | None]:
    """Run a schedule once more, noting every line; return the run and why it fails, if it does.

    Args:
        runner: Runs the schedule.
        judge: Says whether the result is wrong.
        steps: The schedule.
        strict: Refuse a schedule that cannot be followed; False skips the steps that cannot run.
        by_hand: Whether a person wrote the schedule, for the sentence that refuses it.

    Raises:
        Diverged: If the schedule cannot be followed.
    """
    scenario = runner.scenario
    chooser = Follow(steps) if strict else Lenient(steps)
    chooser.by_hand = by_hand
    recorder = Recorder(scenario.observe)
    runner.watcher = recorder
    runner.loop.on_step = recorder.on_step
    ControlledCall.on_line = staticmethod(recorder.line_of_a_thread)
    try:
        result = runner.run(chooser, judge)
    finally:
        runner.watcher = None
        runner.loop.on_step = None
        ControlledCall.on_line = None
    schedule = Schedule(chooser.steps)
    timeline = Timeline(
        names=scenario.names,
        titles=scenario.titles,
        schedule=str(schedule),
        steps=recorder.steps,
        failure=result.failure,
        blocked=recorder.blocked,
        has_threads=recorder.has_threads,
    )
    failure = result.failure or Failure("none", "this schedule breaks no rule")
    run = Counterexample.of(schedule, failure, chooser.cost, result.responses, timeline)
    return run, result.failure


class Recorder:
    """Notes what a run does while it is replayed.

    Args:
        observe: Returns the state of the subject; see `explore`.
    """

    def __init__(self, observe: Callable[[Any], Any] | None) -> None:
        self._user_observe = observe
        self._app: Any = None
        self.blocked: list[str] = []
        self.has_threads = False
        self.steps: list[RecordedStep] = []
        self._locks = LockTable()
        self._state: dict[str, str] = {}
        self._pending: list[tuple[RecordedStep, str]] = []
        self._failed_at: tuple[int, int] | None = None

    def subject(self, app: Any) -> None:
        """Note what the run works on."""
        self._app = app

    def ended(self, roots: Mapping[str, asyncio.Task[Any]]) -> None:
        """Note who waits for whom, before the run is cleaned up."""
        if not all(task.done() for task in roots.values()):
            self.blocked = self._locks.describe(roots)

    def _observe(self) -> Any:
        return observe_now(self._user_observe, self._app)

    def on_step(self, step: Step, task: asyncio.Task[Any] | None, run: Callable[[], None]) -> None:
        """Run one step and note it (the loop calls this instead of running the step)."""
        if not self.steps:
            self._state = self._look()
        recorded = RecordedStep(len(self.steps) + 1, step)
        self.steps.append(recorded)
        previous = sys.gettrace()
        sys.settrace(self._trace)
        try:
            run()
        finally:
            sys.settrace(previous)
            self._settle(recorded)
            if task is not None and task.get_name() == step.text and task.done():
                recorded.ended = _ending(task)

    def _settle(self, recorded: RecordedStep) -> None:
        after = self._look()
        recorded.changed = [name for name, value in after.items() if self._state.get(name) != value]
        recorded.state = after
        self._state = after
        self._fill_values()

    def _look(self) -> dict[str, str]:
        previous = sys.gettrace()
        sys.settrace(None)
        try:
            return flat(self._observe())
        except Exception:
            return dict(self._state)  # it cannot be read in the middle of a step: keep what was seen last
        finally:
            sys.settrace(previous)

    def _trace(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        watched = self._locks.watch(frame, event, arg, self._who)
        if watched is not None:
            return watched
        return self._trace_line if frames.is_shown(frame.f_code.co_filename) else None

    def _trace_line(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        here = (id(frame), frame.f_lineno)
        # Python 3.13 reports an await once more when an exception comes out of it.
        if event == "line" and here != self._failed_at:
            self.line(frame)
        self._failed_at = here if event == "exception" else None
        return self._trace_line

    def line_of_a_thread(self, frame: types.FrameType) -> None:
        """Note that a line of sync code is about to run, in a thread."""
        self.has_threads = True
        self.line(frame)

    def line(self, frame: types.FrameType) -> None:
        """Note that a line of the service is about to run."""
        recorded = self._step_of_this_request()
        self._fill_values()
        text = frames.source_line(frame.f_code, frame.f_lineno).partition(": ")[2]
        # "line 12" stands for a line without known source; a definition shows nothing of what a request does.
        if text.startswith(("line ", "def ", "async def ", "@", "class ")):
            return
        # A line that is reported twice in a row is noted once: up to Python 3.11 a comprehension is a frame
        # of its own, which reports its line a second time.
        if not recorded.lines or recorded.lines[-1][2] != text:
            recorded.lines.append((frames.module_of(frame), frame.f_code.co_name, text))
        names = {full.rpartition(".")[2]: full for full in self._state}
        touched = accesses_of_line(frame, names)
        before = self._look() if touched else {}
        for kind, name in touched:
            full = names[name]
            if kind == READ:
                _add(recorded, (kind, full, before.get(full, "?")))
            else:
                self._pending.append((recorded, full))

    def _fill_values(self) -> None:
        """Note what was written, after the line that wrote it has run."""
        if self._pending:
            now = self._look()
            for recorded, name in self._pending:
                _add(recorded, (WRITE, name, now.get(name, "?")))
            self._pending.clear()

    def _step_of_this_request(self) -> RecordedStep:
        request = REQUEST.get()
        for recorded in reversed(self.steps):
            if request is None or recorded.step.request == request:
                return recorded
        return self.steps[-1]

    def _who(self) -> Step:
        return self._step_of_this_request().step


def _add(recorded: RecordedStep, access: tuple[str, str, str]) -> None:
    if access not in recorded.accesses:
        recorded.accesses.append(access)


def _ending(task: asyncio.Task[Any]) -> str:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return describe(error if error is not None else task.result())


def observe_now(observe: Callable[[Any], Any] | None, app: Any) -> Any:
    """Return the observed state without an event loop: a coroutine is run as long as it does not wait.

    Raises:
        RuntimeError: `observe` waits for something.
    """
    if observe is None or app is None:
        return default_state(app)
    value = observe(app)
    if not inspect.iscoroutine(value):
        return value
    try:
        value.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        value.close()
    raise RuntimeError("observe waits")
