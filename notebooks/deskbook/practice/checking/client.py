"""The learner's side of the worker: start it in the background, hand it jobs, replace it when it has gone."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import socket
import subprocess
import threading
import time
from pathlib import Path

from deskbook.practice.checking.protocol import Job, LineReader, Outcome, line_of
from deskbook.practice.errors import PracticeError
from deskbook.processes.socket_child import SocketChild

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
        self._child = SocketChild(
            "deskbook.practice.checking.worker", folder=Path(__file__).parent, stderr=stderr
        )
        self._reader = LineReader()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._child.pid

    def is_alive(self) -> bool:
        """Say whether the process runs and is ours: a forked copy of a kernel starts one of its own."""
        return self._child.is_alive()

    def check(self, job: Job) -> Outcome:
        """Hand over one answer and wait for what became of it.

        Raises:
            WorkerGoneError: The worker died.
        """
        try:
            self._child.socket.sendall(line_of(job))
            return self._receive(WARM_UP_LIMIT_S + job["limit_s"] + REPORT_LIMIT_S)
        except OSError as error:
            raise WorkerGoneError(str(error)) from None

    def _receive(self, limit_s: float) -> Outcome:
        deadline = time.monotonic() + limit_s
        while True:
            # select wakes for a signal, so the stop button works while an answer is checked.
            left_s = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self._child.socket], [], [], left_s)
            data = self._child.socket.recv(1 << 16) if readable else b""
            if not data:
                raise WorkerGoneError("The worker did not answer.")
            for outcome in self._reader.feed(data):  # it answers one job at a time
                answer: Outcome = outcome
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

    def check(self, job: Job) -> Outcome:
        """Run an answer against the checks of its exercise.

        Raises:
            PracticeError: The worker could not be started, or died twice.
        """
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


#: The worker of this kernel or command.
client = Client()
atexit.register(client.close)
