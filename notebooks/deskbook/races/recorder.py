"""Notes a run while it is replayed: lines, reads and writes, the observed state after each step."""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from . import frames, waits
from .accesses import READ, WRITE, accesses_of_line
from .chooser import REQUEST
from .outcome import describe
from .timeline import Step, flat


class Recorder:
    """Notes what a run does while it is replayed.

    Args:
        observe: returns the state of the subject; see `explore`.
    """

    def __init__(self, observe: Callable[[Any], Any] | None) -> None:
        self._user_observe = observe
        self._app: Any = None
        self.blocked: list[str] = []
        self.steps: list[Step] = []
        self.locks = waits.LockTable()
        self._state: dict[str, str] = {}
        self._pending: list[tuple[Step, str]] = []
        self._failed_at: tuple[int, int] | None = None

    def subject(self, app: Any) -> None:
        """Note what the run works on."""
        self._app = app

    def ended(self, roots: Mapping[str, asyncio.Task[Any]]) -> None:
        """Note who waits for whom, before the run is cleaned up."""
        if not all(task.done() for task in roots.values()):
            self.blocked = self.locks.describe(roots)

    def _observe(self) -> Any:
        return observe_now(self._user_observe, self._app)

    def on_step(self, actor: str, task: asyncio.Task[Any] | None, run: Callable[[], None]) -> None:
        """Run one step and note it (the loop calls this instead of running the step)."""
        if not self.steps:
            self._state = self._look()
        step = Step(len(self.steps) + 1, actor)
        self.steps.append(step)
        previous = sys.gettrace()
        sys.settrace(self._trace)
        try:
            run()
        finally:
            sys.settrace(previous)
            self._settle(step)
            if task is not None and actor in _root_names(task) and task.done():
                step.ended = _ending(task)

    def _settle(self, step: Step) -> None:
        after = self._look()
        step.changed = [name for name, value in after.items() if self._state.get(name) != value]
        step.state = after
        self._state = after
        self._fill_values()

    def _look(self) -> dict[str, str]:
        previous = sys.gettrace()
        sys.settrace(None)
        try:
            return flat(self._observe())
        except Exception:
            return dict(
                self._state
            )  # the state cannot be read in the middle of a step: keep what was seen last
        finally:
            sys.settrace(previous)

    def _trace(self, frame: types.FrameType, event: str, arg: Any) -> Any:
        watched = self.locks.watch(frame, event, arg, self._who)
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

    def line(self, frame: types.FrameType) -> None:
        """Note that a line of the service is about to run."""
        step = self._step_of_this_request()
        self._fill_values()
        text = frames.source_line(frame.f_code, frame.f_lineno).partition(": ")[2]
        if text.startswith(("line ", "def ", "async def ", "@", "class ")):
            return
        # A line that is reported again at once stands there once: up to Python 3.11 a comprehension is a
        # frame of its own, which reports its line a second time.
        if not step.lines or step.lines[-1][2] != text:
            step.lines.append((frames.module_of(frame), frame.f_code.co_name, text))
        names = {full.rpartition(".")[2]: full for full in self._state}
        touched = accesses_of_line(frame, names)
        before = self._look() if touched else {}
        for kind, name in touched:
            full = names[name]
            if kind == READ:
                _add(step, (kind, full, before.get(full, "?")))
            else:
                self._pending.append((step, full))

    def _fill_values(self) -> None:
        """Note what was written, after the line that wrote it has run."""
        if self._pending:
            now = self._look()
            for step, name in self._pending:
                _add(step, (WRITE, name, now.get(name, "?")))
            self._pending.clear()

    def _step_of_this_request(self) -> Step:
        request = REQUEST.get()
        for step in reversed(self.steps):
            if request is None or step.request == request:
                return step
        return self.steps[-1]

    def _who(self) -> str:
        return self._step_of_this_request().actor


def _add(step: Step, access: tuple[str, str, str]) -> None:
    if access not in step.accesses:
        step.accesses.append(access)


def _root_names(task: asyncio.Task[Any]) -> tuple[str, ...]:
    return (task.get_name(),)


def _ending(task: asyncio.Task[Any]) -> str:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return describe(error if error is not None else task.result())


def observe_now(observe: Callable[[Any], Any] | None, app: Any) -> Any:
    """Observe without a loop: a coroutine function is driven as far as it goes at once."""
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


def default_state(app: Any) -> dict[str, Any]:
    """Return the plain values of `app.state`, or of the object itself, for a caller that named none."""
    holder = getattr(app, "state", None)
    values = getattr(holder, "_state", None)
    if not isinstance(values, Mapping):
        values = getattr(holder, "__dict__", None)
    if not isinstance(values, Mapping):
        values = {} if callable(app) else getattr(app, "__dict__", {})
    return {
        str(name): value
        for name, value in values.items()
        if not str(name).startswith("_") and _is_plain(value)
    }


def _is_plain(value: Any, depth: int = 0) -> bool:
    if value is None or isinstance(value, (bool, int, float, str)):
        return True
    if depth > 2:
        return False
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_is_plain(item, depth + 1) for item in value)
    return isinstance(value, dict) and all(_is_plain(item, depth + 1) for item in value.values())
