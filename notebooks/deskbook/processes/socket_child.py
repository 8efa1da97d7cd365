"""A process that works for the other end of its socket, and ends with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from deskbook.processes.termination import wait_or_kill

#: How long it may take to end after its socket has closed, in seconds.
END_LIMIT_S = 2.0


class SocketChild:
    """A Python process of our own, started at once; it ends when `socket` closes.

    The system closes the socket however this process ends, so the child never outlives it. In a forked copy
    of this process, `close` lets go of the socket and leaves the child to its owner.

    Args:
        module: What it runs, as `python -m`; it finds the number of its descriptor in `sys.argv[1]`.
        arguments: The rest of its `sys.argv`.
        folder: Where it runs; by default in the folder of this process.
        stderr: Where it writes errors, as for `subprocess.Popen`.

    Attributes:
        socket: Our end.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        folder: Path | None = None,
        stderr: int | None = subprocess.DEVNULL,
    ) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, str(theirs.fileno()), *arguments],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    # The stop button and Ctrl-C reach the whole process group of a kernel.
                    start_new_session=True,
                    cwd=folder,
                )
        except BaseException:
            ours.close()
            raise
        self.socket = ours
        self._owner = os.getpid()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Say whether the process runs and is ours: a forked copy of its owner must start one of its own."""
        return self._owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """Close the socket and wait for the end."""
        self.socket.close()
        if self._owner == os.getpid():
            wait_or_kill(self._process, END_LIMIT_S)
