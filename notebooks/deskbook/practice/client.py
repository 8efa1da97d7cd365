"""The learner's side of the worker: start it in the background, hand it answers, replace it when gone."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from deskbook.processes.socket_child import SocketChild

from .answers import FIRST_LINE
from .errors import PracticeError
from .exercise import Exercise

#: How long the worker may take to import everything, in seconds; an old laptop on battery needs ten.
WARM_UP_LIMIT_S = 60.0

#: Beyond the limit of a check: how long the worker may take to report, in seconds.
REPORT_LIMIT_S = 60.0


class WorkerGoneError(Exception):
    """The worker has ended without an answer."""


class Worker:
    """One worker process, started at once and warm about a second later."""

    def __init__(self) -> None:
        stderr = None if os.environ.get("DESKBOOK_DEBUG") else subprocess.DEVNULL
        self._child = SocketChild("deskbook.practice.worker", folder=Path(__file__).parent, stderr=stderr)
        self._unread = b""

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._child.pid

    def is_alive(self) -> bool:
        """Say whether the process runs and is ours: a forked copy of a kernel starts one of its own."""
        return self._child.is_alive()

    def check(self, job: dict[str, Any]) -> dict[str, Any]:
        """Hand over one answer and wait for what became of it.

        Raises:
            WorkerGoneError: The worker died.
        """
        try:
            self._child.socket.sendall(json.dumps(job).encode() + b"\n")
            return self._receive(WARM_UP_LIMIT_S + job["limit_s"] + REPORT_LIMIT_S)
        except OSError as error:
            raise WorkerGoneError(str(error)) from None

    def _receive(self, limit_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._unread:
            # select wakes for a signal, so the stop button works while an answer is checked.
            readable, _, _ = select.select(
                [self._child.socket], [], [], max(0.0, deadline - time.monotonic())
            )
            data = self._child.socket.recv(1 << 16) if readable else b""
            if not data:
                raise WorkerGoneError("The worker did not answer.")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def hang_up(self) -> None:
        """Tell the worker that nobody waits any more: it ends its check and itself. From any thread."""
        with contextlib.suppress(OSError):  # it has gone already
            self._child.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the process; a check that still runs ends with it."""
        self._child.close()


class Client:
    """Keeps one worker and hands it answers, one at a time."""

    def __init__(self) -> None:
        # Without it two threads could write into one worker and read each other's results.
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._is_abandoned = False

    def start(self) -> None:
        """Start the worker if there is none; returns at once."""
        with self._lock:
            self._running()

    def _running(self) -> Worker:
        if self._is_abandoned:
            raise PracticeError("The check was broken off.")
        if self._worker is not None and not self._worker.is_alive():
            self._discard()
        if self._worker is None:
            self._worker = Worker()
        return self._worker

    def check(self, exercise: Exercise, source: str, first_line: int = FIRST_LINE) -> dict[str, Any]:
        """Run an answer against the checks of its exercise.

        Args:
            exercise: The exercise.
            source: The answer, without the line `%%exercise`.
            first_line: Number of its first line, for messages.

        Returns:
            What happened, as the worker tells it; `verdict.judge` reads it.

        Raises:
            PracticeError: The worker could not be started, or died twice; or the exercise needs servers, and
                they cannot be had.
        """
        _hold_services(exercise)
        job = {
            "folder": str(exercise.folder),
            "source": source,
            "limit_s": exercise.limit_s,
            "first_line": first_line,
            "fields": dict(exercise.fields),
            "needs": list(exercise.needs),
        }
        with self._lock:
            for _ in range(2):
                worker = self._running()
                try:
                    return worker.check(job)
                except WorkerGoneError:
                    self._discard()
                except BaseException:
                    # The stop button: an answer that nobody waits for must not be read later.
                    self._discard()
                    raise
        raise PracticeError(
            "The process that checks answers ended twice. Is the machine out of memory? Try again."
        )

    def _discard(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def abandon(self) -> None:
        """Break off the check that another thread waits for, and refuse all others."""
        self._is_abandoned = True
        if (worker := self._worker) is not None:
            worker.hang_up()

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._discard()


def _hold_services(exercise: Exercise) -> None:
    """Keep the servers that the checks need up in this process, which lives longer than they.

    Without it the first check would start them as its own children: at its end they are killed with it, and
    whoever uses them meanwhile loses them.
    """
    if exercise.needs:
        from deskbook.services import ServicesError, ensure

        try:
            ensure(*exercise.needs)
        except ServicesError as error:
            raise PracticeError(str(error)) from None


#: The worker of this kernel or command.
client = Client()
atexit.register(client.close)
