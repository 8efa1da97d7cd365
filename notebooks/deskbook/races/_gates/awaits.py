"""Awaits of the service's own code as steps beside its statements: what it keeps in memory can race as well.

Where a task of a request is woken and stands in the service's code (it awaited a pause, a lock, a queue or a
thread), it waits for the search like a statement at the gate. Where it stands in a client library, a
statement has just returned, and it goes on: that is part of the step that sent the statement.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._gates.base import Gate, Operation, Table
from deskbook.races._gates.timers import belongs_to_a_library
from deskbook.races._subject.actors import REQUEST

_STEPS = frozenset({"task_wakeup", "__wakeup", "__step", "_Task__wakeup", "_Task__step"})


class Wakeup:
    """Lets a task go on, with what the search asks of a future.

    Args:
        go_on: Queues the next step of the task.
    """

    def __init__(self, go_on: Callable[[], object]) -> None:
        self._go_on = go_on
        self._is_done = False

    def set_result(self, result: None) -> None:
        """Let the task go on."""
        if not self._is_done:
            self._is_done = True
            self._go_on()

    def cancel(self) -> None:
        """Let the task go on, because the run is over and nobody chooses any more."""
        self.set_result(None)


class HeldAwaits:
    """Holds the tasks of requests that are woken in the service's own code, while a run is under way.

    Args:
        loop: The running loop; one that does not let `call_soon` be replaced (uvloop) holds nothing.
        gate: Where they wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, gate: Gate) -> None:
        self._loop: Any = loop
        self._gate = gate
        self._can_hold = isinstance(loop, asyncio.BaseEventLoop)
        self._table: Table | None = None

    def install(self, table: Table) -> None:
        """Begin to hold."""
        if self._can_hold:
            self._table = table
            self._call_soon = self._loop.call_soon
            self._loop.call_soon = self._held_call_soon

    def remove(self) -> None:
        """Give the loop back as it was."""
        if self._table is not None:
            self._table = None
            del self._loop.call_soon

    def _held_call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Any:
        table = self._table
        task = getattr(callback, "__self__", None)
        request = None if context is None else context.get(REQUEST)
        if (
            table is None
            or request is None
            or not isinstance(task, asyncio.Task)
            or getattr(callback, "__name__", "__step") not in _STEPS
            or not _stands_in_the_service(task)
        ):
            return self._call_soon(callback, *args, context=context)
        call_soon = self._call_soon
        operation = Operation(
            table.actors.step_of(task, request),
            frames.position(task),
            None,
            None,
            Wakeup(lambda: call_soon(callback, *args, context=context)),
        )
        self._gate.arrive(table, operation)
        return asyncio.Handle(callback, args, self._loop, context)


def _stands_in_the_service(task: asyncio.Task[Any]) -> bool:
    """Tell whether a task that has begun stands at an await of the service's own code."""
    if belongs_to_a_library(task.get_coro()):
        return False
    chain = frames.await_chain(task.get_coro())
    if len(chain) < 2 and getattr(task.get_coro(), "cr_await", None) is None:
        return False  # it has not begun; until its first await or statement it belongs to who started it
    for frame in reversed(chain):
        if frame is None:
            return False
        kind = frames.kind_of_file(frame.f_code.co_filename)
        if kind != frames.TRANSPARENT:
            return kind == frames.USER and frames.is_shown(frame.f_code.co_filename)
    return False
