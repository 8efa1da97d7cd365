"""End a process: ask it, wait, kill it, or kill everything that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Protocol


class Waitable(Protocol):
    """A process that can be waited for and killed, such as `subprocess.Popen`."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired`."""

    def kill(self) -> None:
        """Kill it."""


def wait_or_kill(process: Waitable, timeout_s: float) -> None:
    """Wait for a process that was told to end; one that is still there after `timeout_s` is killed."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop(process: subprocess.Popen[bytes], first: int, *, timeout_s: float) -> None:
    """Send the signal `first`, wait `timeout_s` seconds, then kill."""
    if process.poll() is None:
        process.send_signal(first)
        wait_or_kill(process, timeout_s)


def kill_group(leader: int) -> None:
    """Kill the process group of this number: its leader, if it still runs, and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


@contextlib.contextmanager
def killed_after(kill: Callable[[], object], limit_s: float) -> Iterator[None]:
    """Call `kill` unless the block ends in time; a read from a pipe of the process then ends as well."""
    timer = threading.Timer(limit_s, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
