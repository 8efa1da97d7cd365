"""One Valkey (or Redis) server of our own: start it, stop it."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deskbook.services import processes
from deskbook.services.binaries import Binaries, version_of
from deskbook.services.errors import ServicesError

#: Nothing is written to disk, memory and clients are bounded; a full server answers with an error instead of
#: dropping keys a lesson counts on. 256 logical databases leave one for every notebook and test.
SETTINGS: Mapping[str, str] = {
    "bind": "127.0.0.1",
    "databases": "256",
    "maxclients": "1000",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
}

_READY_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0
_PORT_ATTEMPTS = 5
_POLL_S = 0.005
#: Short: on a port that somebody else took meanwhile, nobody may answer.
_PROBE_TIMEOUT_S = 0.2
_HELP = "Correct what it says and try again, or set REDIS_URL to a running server."


class ValkeyServer:
    """A Valkey or Redis server in a folder of its own, on a free port of 127.0.0.1.

    Same rules as `PostgresServer`: one thread, the main one.

    Args:
        binaries: the program to run.
        folder: an existing empty folder.
        settings: lines for valkey.conf that replace or extend SETTINGS.
        pick_port: gives the next port to try.
    """

    def __init__(
        self,
        binaries: Binaries,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        pick_port: Callable[[], int] = processes.free_port,
    ) -> None:
        self.binaries = binaries
        self.folder = folder
        self.log = folder / "server.log"
        self.settings = {**SETTINGS, **(settings or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self.version = ""
        self._pick_port = pick_port
        self._port = 0
        self._attempts = 0
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """Address of logical database 0, with password."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def launch(self) -> None:
        """Start the server, without waiting until it answers.

        Raises:
            ServicesError: the program cannot be run.
        """
        self.folder.chmod(0o700)
        try:
            self.version = version_of(self.binaries.server)
        except PermissionError:
            raise ServicesError(f"{self.binaries.server} may not be run by this user.", _HELP) from None
        self._start()

    def wait_ready(self) -> None:
        """Wait until the server answers PING; a port that was taken meanwhile is replaced by another.

        Raises:
            ServicesError: the server ended or did not answer in time; the message holds the end of its log.
        """
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not self._answers():
            if self.process is None or self.process.poll() is not None:
                tail = processes.log_tail(self.log)
                if "Address already in use" not in tail or self._attempts >= _PORT_ATTEMPTS:
                    raise ServicesError(f"Valkey ({self.binaries.origin}) ended at start: {tail}.", _HELP)
                self._start()
            elif time.monotonic() > deadline:
                tail = processes.log_tail(self.log)
                raise ServicesError(f"Valkey was not ready after {_READY_TIMEOUT_S:.0f} s: {tail}.", _HELP)
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop the server."""
        if self.process is not None:
            processes.stop(self.process, signal.SIGTERM, timeout_s=_STOP_TIMEOUT_S)

    def _start(self) -> None:
        self._attempts += 1
        self._port = self._pick_port()
        own = {
            "port": str(self._port),
            "dir": str(self.folder),
            "pidfile": str(self.folder / "server.pid"),
            "requirepass": self._password,
            # The server writes its own command line; with the folder in it a left-over one can be recognised.
            "proc-title-template": f"{{title}} {{listen-addr}} {self.folder}",
        }
        lines = [f"{name} {_quoted(value)}\n" for name, value in {**self.settings, **own}.items()]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                # The configuration comes by pipe: a command line is readable by every user of the machine.
                [self.binaries.server, "-"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                preexec_fn=processes.end_with_parent(signal.SIGKILL),
            )
        stdin = self.process.stdin
        if stdin is not None:
            try:
                stdin.write("".join(lines).encode())
                stdin.close()
            except BrokenPipeError:  # it ended at once; wait_ready tells why
                pass

    def _answers(self) -> bool:
        """Authenticate with our password, so that a stranger on the same port is not taken for our server."""
        if self.process is None or self.process.poll() is not None:
            return False
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=_PROBE_TIMEOUT_S) as probe:
                probe.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                answer = b""
                while chunk := probe.recv(256):
                    answer += chunk
                    if answer.count(b"\r\n") >= 2 or answer.startswith(b"-"):
                        break
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"


def _quoted(value: str) -> str:
    """Return a value as valkey.conf reads it."""
    return '"{}"'.format(str(value).replace("\\", "\\\\").replace('"', '\\"'))
