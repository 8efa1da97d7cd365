"""What is replaced while exploring: the locks of `threading` and the worker threads of anyio."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from deskbook.races._loop.threads.call import in_controlled_thread, set_loop_thread
from deskbook.races._loop.threads.driver import run_controlled
from deskbook.races._loop.threads.locks import ControlledLock, ControlledRLock
from deskbook.races._loop.threads.worker import stop_idle_threads
from deskbook.races._loop.virtual import VirtualLoop


def _belongs_to_a_thread(frame: types.FrameType | None) -> bool:
    """Tell whether a lock is made for a `threading.Thread` of the service's own: out of our control."""
    for _ in range(6):
        if frame is None:
            return False
        if frame.f_code in _THREAD_CODE:
            loop = asyncio._get_running_loop()
            if isinstance(loop, VirtualLoop) and loop.exploring:
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
        set_loop_thread(self._owner)
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
            if not isinstance(asyncio.get_running_loop(), VirtualLoop):
                return await original.__get__(None, cls)(func, args, abandon_on_cancel, limiter)
            with anyio.CancelScope(shield=not abandon_on_cancel):
                return await run_controlled(func, args)

        self._backend, self._anyio_original = AsyncIOBackend, original
        AsyncIOBackend.run_sync_in_worker_thread = classmethod(run_sync)  # type: ignore[assignment]
