"""One Valkey (or Redis) server of our own: start it, stop it."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Mapping
from typing import ClassVar

from deskbook.processes.lifeline import end_with_parent
from deskbook.services.binaries import version_of
from deskbook.services.server import Server

#: Short: on a port that somebody else took meanwhile, nobody may answer.
_PROBE_TIMEOUT_S = 0.2


class ValkeyServer(Server):
    """A Valkey or Redis server; see `Server` for the arguments."""

    TITLE = "Valkey"
    VARIABLE = "REDIS_URL"
    #: Nothing is written to disk, memory and clients are bounded; a full server answers with an error instead
    #: of dropping keys a lesson counts on. 256 logical databases leave one for every notebook and test.
    SETTINGS: ClassVar[Mapping[str, str]] = {
        "bind": "127.0.0.1",
        "databases": "256",
        "maxclients": "1000",
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    READY_TIMEOUT_S = 20.0

    @property
    def url(self) -> str:
        """Address of logical database 0, with password."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def _prepare(self) -> None:
        try:
            self.version = version_of(self.binaries.server)
        except PermissionError:
            raise self._failure(f"{self.binaries.server} may not be run by this user.") from None

    def _spawn(self) -> subprocess.Popen[bytes]:
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
            process = subprocess.Popen(
                # The configuration comes by pipe: a command line is readable by every user of the machine.
                [self.binaries.server, "-"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                preexec_fn=end_with_parent(signal.SIGKILL),
            )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once; wait_ready tells why
            process.stdin.write("".join(lines).encode())
            process.stdin.close()
        return process

    def _is_ready(self) -> bool:
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
