"""Threads that run one controlled call after another."""

from __future__ import annotations

import _thread
import threading
from typing import Protocol

new_lock = threading._allocate_lock  # type: ignore[attr-defined]

#: What runs in the present thread: `current.call`.
current = threading.local()


class Call(Protocol):
    """What a worker runs."""

    def run(self) -> None:
        """Run to the end."""


class Worker:
    """A thread that runs one call after another, so that a schedule does not pay for a thread start."""

    idle: list[Worker] = []  # noqa: RUF012 - shared on purpose: one pool for the process

    def __init__(self) -> None:
        self.go = new_lock()
        self.back = new_lock()
        self.go.acquire()
        self.back.acquire()
        self.call: Call | None = None
        # A threading.Thread would wait for its start on a lock, and while exploring locks are controlled.
        _thread.start_new_thread(self._serve, ())

    @classmethod
    def take(cls) -> Worker:
        """Return a worker that waits for work."""
        return cls.idle.pop() if cls.idle else cls()

    def _serve(self) -> None:
        while True:
            self.go.acquire()
            call = self.call
            if call is None:
                return
            current.call = call
            call.run()
            current.call = None
            self.call = None
            self.back.release()


def stop_idle_threads() -> None:
    """End the worker threads that wait for work."""
    while Worker.idle:
        worker = Worker.idle.pop()
        worker.call = None
        worker.go.release()
