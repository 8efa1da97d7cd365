"""What PostgreSQL and Valkey have in common as servers of our own: a folder, a free port, a start, an end."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from deskbook.processes import termination
from deskbook.services.binaries import Binaries
from deskbook.services.errors import ServicesError

_STOP_TIMEOUT_S = 5.0
_PORT_ATTEMPTS = 5
_POLL_S = 0.005
_LOG_TAIL_LINES = 5


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def log_tail(path: Path) -> str:
    """Return the last lines of a log file in one line, for an error message."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "no log"
    return " / ".join(line.strip() for line in lines[-_LOG_TAIL_LINES:]) or "an empty log"


class Server(ABC):
    """A server in a folder of its own, on a free port of 127.0.0.1.

    Not safe for threads. On Linux the server dies with the process that called `launch`; call it from a main
    thread.

    Args:
        binaries: The program to run.
        folder: An existing empty folder; the user the server runs as must be able to reach it.
        settings: Lines for its configuration that replace or extend SETTINGS.
        pick_port: Gives the next port to try.
    """

    #: What it is called in messages, and the variable that names another one.
    TITLE: ClassVar[str]
    VARIABLE: ClassVar[str]
    SETTINGS: ClassVar[Mapping[str, str]]
    #: How long it may take to be ready, in seconds.
    READY_TIMEOUT_S: ClassVar[float]
    #: The signal that ends it, without a wait for its clients.
    STOP_SIGNAL: ClassVar[int] = signal.SIGTERM

    def __init__(
        self,
        binaries: Binaries,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        pick_port: Callable[[], int] = free_port,
    ) -> None:
        self.binaries = binaries
        self.folder = folder
        self.log = folder / "server.log"
        self.settings = {**self.SETTINGS, **(settings or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self.version = ""
        self._pick_port = pick_port
        self._port = 0
        self._attempts = 0
        self._password = secrets.token_urlsafe(24)

    @property
    @abstractmethod
    def url(self) -> str:
        """Its address, with password."""

    def launch(self) -> None:
        """Make what the server needs and start it, without waiting until it answers.

        Raises:
            ServicesError: The program cannot be run, or its data folder cannot be made.
        """
        self.folder.chmod(0o700)
        self._prepare()
        self.start()

    def start(self) -> None:
        """Start the server on the data that are there; also again, after `stop`."""
        self._attempts += 1
        self._port = self._pick_port()
        self.log.unlink(missing_ok=True)
        self.process = self._spawn()

    def wait_ready(self) -> None:
        """Wait until the server answers; a port that was taken meanwhile is replaced by another.

        Raises:
            ServicesError: The server ended or did not answer in time; the message holds the end of its log.
        """
        deadline = time.monotonic() + self.READY_TIMEOUT_S
        while not self._is_ready():
            if self.process is None or self.process.poll() is not None:
                tail = log_tail(self.log)
                if "Address already in use" not in tail or self._attempts >= _PORT_ATTEMPTS:
                    raise self._failure(f"{self.TITLE} ({self.binaries.origin}) ended at start: {tail}.")
                self.start()
            elif time.monotonic() > deadline:
                late = f"{self.TITLE} was not ready after {self.READY_TIMEOUT_S:.0f} s"
                raise self._failure(f"{late}: {log_tail(self.log)}.")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop the server at once, cutting its connections; its data stay in the folder."""
        if self.process is not None:
            termination.stop(self.process, self.STOP_SIGNAL, timeout_s=_STOP_TIMEOUT_S)

    def _failure(self, problem: str) -> ServicesError:
        return ServicesError(
            problem, f"Correct what it says and try again, or set {self.VARIABLE} to a running server."
        )

    @abstractmethod
    def _prepare(self) -> None:
        """Read the version, and make what the program needs before its first start."""

    @abstractmethod
    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start the program on `self._port`, with its output in `self.log`."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Say whether it is this server that answers, and not a stranger on its port."""
