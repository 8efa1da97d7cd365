"""Who waits for whom: locks and their holders, for the report of a deadlock.

An `asyncio.Lock` does not know its owner. While a deadlock is replayed, the tracer sees every `acquire` that
returns True and every `release`, and so knows which request took which lock on which line. The cycle is
reported instead of a victim, because which victim a server or a timeout picks may depend on timing.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Mapping
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._schedule import Step

_ACQUIRES = {asyncio.Lock.acquire.__code__, asyncio.Semaphore.acquire.__code__}
_RELEASES = {asyncio.Lock.release.__code__, asyncio.Semaphore.release.__code__}


class LockTable:
    """Remembers who holds which lock, by watching `acquire` and `release`."""

    def __init__(self) -> None:
        self.holders: dict[int, tuple[Step, str]] = {}
        self._alive: list[Any] = []

    def watch(self, frame: types.FrameType, event: str, arg: Any, who: Callable[[], Step]) -> Any:
        """Return a local tracer for the frames of `acquire` and `release`, None for all others."""
        code = frame.f_code
        if code in _ACQUIRES:

            def returned(frame: types.FrameType, event: str, arg: Any) -> Any:
                if event == "return" and arg is True:
                    lock = frame.f_locals["self"]
                    self._alive.append(lock)
                    self.holders[id(lock)] = (who(), _line_of_caller(frame))
                return returned

            return returned
        if code in _RELEASES:
            self.holders.pop(id(frame.f_locals["self"]), None)
            return _ignore
        return None

    def describe(self, roots: Mapping[str, asyncio.Task[Any]]) -> list[str]:
        """Return one line for each request that waits: where, and for what."""
        lines = []
        for name, task in roots.items():
            if task.done():
                continue
            where = frames.position(task)
            holder = self.holders.get(id(_awaited_lock(task)))
            if holder is None:
                lines.append(f"{name} waits at «{where}»")
            elif holder[0].request == name:
                lines.append(
                    f"{name} waits at «{where}» for a lock that it holds itself, taken at «{holder[1]}»"
                )
            else:
                lines.append(f"{name} waits at «{where}» for a lock that {holder[0]} took at «{holder[1]}»")
        return lines


def _ignore(frame: types.FrameType, event: str, arg: Any) -> None:
    return None


def _line_of_caller(frame: types.FrameType) -> str:
    caller = frame.f_back
    while caller is not None and frames.kind_of_file(caller.f_code.co_filename) != frames.USER:
        caller = caller.f_back
    return "?" if caller is None else frames.source_line(caller.f_code, caller.f_lineno)


def _awaited_lock(task: asyncio.Task[Any]) -> Any:
    for frame in frames.await_chain(task.get_coro()):
        if frame is not None and frame.f_code in _ACQUIRES:
            return frame.f_locals["self"]
    return None
