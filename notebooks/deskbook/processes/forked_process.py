"""A process that the fork server has started: what `subprocess.Popen` is for a process of one's own."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import subprocess
import threading
import time
from typing import IO

from deskbook.processes.termination import kill_group

#: How long a fork server may take to import everything on a busy machine, in seconds.
FORK_LIMIT_S = 30.0
NOT_BEGUN = (
    "The fork server ended, or hangs, before it had started a process. Try again; if it stays so, look at "
    "memory and disk with `deskbook doctor`."
)


class ForkServerError(Exception):
    """The fork server ended or hangs, so the process never began. The message says what to do."""


class ForkedProcess:
    """A process in a session of its own, whose parent is the fork server.

    Attributes:
        stdin: Its standard input, to write to.
        stdout: Its standard output, to read from.
        returncode: How it ended, as `subprocess.Popen` says it; None while it runs, as far as is known.
    """

    def __init__(self, report: socket.socket, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._report = report
        self._report.setblocking(False)
        self._unread = b""
        self._pid: int | None = None
        self._is_reaped = False
        # Without it two threads would read halves of one line: one waits for the end, another kills.
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Number of the process; waits until it has begun.

        Raises:
            ForkServerError: It never will.
        """
        deadline = time.monotonic() + FORK_LIMIT_S
        while self._pid is None:
            if self.returncode is not None or not self._follow(deadline - time.monotonic()):
                raise ForkServerError(NOT_BEGUN)
        return self._pid

    def poll(self) -> int | None:
        """Return how it ended, or None while it runs."""
        while self.returncode is None and self._follow(0):
            pass
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended and its number is free, and return how it ended.

        Args:
            timeout: The longest wait, in seconds; None waits as long as it takes.

        Raises:
            subprocess.TimeoutExpired: It still runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_reaped:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not self._follow(left_s) and left_s == 0 and timeout is not None:
                raise subprocess.TimeoutExpired("a forked process", timeout)
        assert self.returncode is not None
        return self.returncode

    def kill_group(self) -> None:
        """Kill it and what it has started, unless its group is empty."""
        with contextlib.suppress(ForkServerError):
            kill_group(self.pid)

    def _follow(self, limit_s: float | None) -> bool:
        """Wait for news and take them in; say whether there were any."""
        try:
            readable, _, _ = select.select(
                [self._report], [], [], None if limit_s is None else max(0.0, limit_s)
            )
        except ValueError:  # another thread has read the end and closed it
            return self._is_reaped
        if not readable:
            return False
        with self._lock:
            if not self._is_reaped:
                self._read()
        return True

    def _read(self) -> None:
        try:
            data = self._report.recv(1024)
        except BlockingIOError:
            return
        *lines, self._unread = (self._unread + data).split(b"\n")
        for kind, number in map(bytes.split, lines):
            if kind == b"pid":
                self._pid = int(number)
            else:
                self.returncode = int(number)
        if data:
            return
        if self.returncode is None:  # the fork server was killed: nobody else can say how its processes end
            if self._pid is not None:
                kill_group(self._pid)
            self.returncode = -signal.SIGKILL
        self._is_reaped = True
        self._report.close()
