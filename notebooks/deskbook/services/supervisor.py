"""The process that owns the servers: it starts them when asked and ends them with its last client.

Every client holds a lease: an open connection to this process. The operating system closes it however the
client ends, so nothing has to be counted or renewed. One request a line, one JSON answer a line:

    {"op": "lease", "pid": 12, "binaries": {"postgres": {...}}}  start these if needed, answer with addresses
    {"op": "status"}                                             say what runs and who uses it
    {"op": "stop"}                                               end the servers now
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deskbook.services.binaries import Binaries
from deskbook.services.errors import ServicesError
from deskbook.services.postgres_server import PostgresServer
from deskbook.services.server import Server
from deskbook.services.state import StateFolder, remove_leftovers
from deskbook.services.valkey_server import ValkeyServer

#: How long servers outlive their last client, so that two commands in a row share them.
GRACE_S = 1.0

#: How long to wait for the process that started us, which connects at once if it lives.
_FIRST_CLIENT_TIMEOUT_S = 5.0
_REQUEST_MAX_BYTES = 65_536
_SEND_TIMEOUT_S = 1.0
_CHILD_CHECK_S = 0.5

_SERVERS: Mapping[str, type[Server]] = {"postgres": PostgresServer, "redis": ValkeyServer}


class LeaseHolder:
    """One connection and what came over it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""
        self.pid: int | None = None


class Supervisor:
    """Serve clients until the last one has gone.

    It has one thread on purpose: requests are answered one after the other, so no server is started twice.

    Args:
        state: The locked state folder, removed at the end.
        lock: Descriptor of its lock.
        listener: Socket for clients to connect to; None when `owner` is the only one.
        owner: Connection of the process that started a private supervisor.
        settings: Settings by service name, for servers that differ from the usual.
        grace_s: Seconds to stay after the last lease.
    """

    def __init__(
        self,
        state: StateFolder,
        lock: int,
        listener: socket.socket | None,
        owner: socket.socket | None,
        settings: Mapping[str, Mapping[str, str]],
        grace_s: float,
    ) -> None:
        self._state = state
        self._lock = lock
        self._listener = listener
        self._settings = settings
        self._grace_s = grace_s
        self._selector = selectors.DefaultSelector()
        self._clients: dict[socket.socket, LeaseHolder] = {}
        self._servers: dict[str, Server] = {}
        self._data: Path | None = None
        self._stopping = False
        self._stop_waiters: list[LeaseHolder] = []
        self._idle_until = time.monotonic() + max(grace_s, _FIRST_CLIENT_TIMEOUT_S)
        if listener is not None:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
        if owner is not None:
            self._add(owner)

    def run(self) -> None:
        """Serve until a stop is asked for, a server dies or the last lease has gone; then clean up."""
        try:
            while not self._stopping and not self._is_idle() and not self._lost_a_server():
                for key, _ in self._selector.select(self._patience_s()):
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._read(self._clients[key.fileobj])  # type: ignore[index]
        finally:
            self._shut_down()

    def request_stop(self, *_signal: object) -> None:
        """Leave the loop at the next turn."""
        self._stopping = True

    def _patience_s(self) -> float:
        if self._clients:
            return _CHILD_CHECK_S
        return max(0.0, self._idle_until - time.monotonic())

    def _is_idle(self) -> bool:
        if self._clients or time.monotonic() < self._idle_until:
            return False
        self._accept()  # somebody may have knocked since the last turn
        return not self._clients

    def _lost_a_server(self) -> bool:
        """Say whether a server ended by itself: then all end, and the next `ensure` starts from nothing."""
        return any(server.process and server.process.poll() is not None for server in self._servers.values())

    def _accept(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(BlockingIOError):
            self._add(self._listener.accept()[0])

    def _add(self, connection: socket.socket) -> None:
        connection.settimeout(_SEND_TIMEOUT_S)
        self._clients[connection] = LeaseHolder(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _drop(self, client: LeaseHolder) -> None:
        if self._clients.pop(client.connection, None) is not None:
            self._selector.unregister(client.connection)
            client.connection.close()
        self._idle_until = time.monotonic() + self._grace_s

    def _read(self, client: LeaseHolder) -> None:
        try:
            chunk = client.connection.recv(_REQUEST_MAX_BYTES)
        except OSError:
            chunk = b""
        client.buffer += chunk
        if not chunk or len(client.buffer) > _REQUEST_MAX_BYTES:
            self._drop(client)
            return
        *lines, client.buffer = client.buffer.split(b"\n")
        for line in lines:
            self._answer(client, json.loads(line))

    def _answer(self, client: LeaseHolder, request: dict[str, Any]) -> None:
        if request["op"] == "stop":
            self._stop_waiters.append(client)
            self._stopping = True
            return
        answer = self._status()
        if request["op"] == "lease":
            client.pid = request["pid"]
            answer = self._lease(request["binaries"])
        self._send(client, answer)

    def _send(self, client: LeaseHolder, answer: dict[str, Any]) -> None:
        try:
            client.connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self._drop(client)

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "clients": sorted(client.pid for client in self._clients.values() if client.pid is not None),
            "services": self._addresses(),
        }

    def _addresses(self) -> dict[str, dict[str, str]]:
        return {
            name: {
                "name": name,
                "url": server.url,
                "version": server.version,
                "origin": server.binaries.origin,
            }
            for name, server in self._servers.items()
        }

    def _lease(self, binaries: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        missing = {name: Binaries(**found) for name, found in binaries.items() if name not in self._servers}
        try:
            self._start(missing)
        except ServicesError as error:
            return {"error": [error.problem, error.remedy]}
        except OSError as error:
            problem = f"The servers could not be started: {error}."
            return {"error": [problem, "Free some disk space and try again."]}
        return {"services": self._addresses()}

    def _start(self, wanted: Mapping[str, Binaries]) -> None:
        """Start servers side by side; if one fails, none of them stays."""
        if wanted and self._data is None:
            self._data = self._state.make_data_folder()
        started: dict[str, Server] = {}
        try:
            # Valkey first: it starts while initdb works.
            for name, found in sorted(wanted.items(), reverse=True):
                folder = self._empty_folder(name)
                started[name] = _SERVERS[name](found, folder, self._settings.get(name))
                started[name].launch()
            for server in started.values():
                server.wait_ready()
        except BaseException:
            for server in started.values():
                server.stop()
                shutil.rmtree(server.folder, ignore_errors=True)
            raise
        self._servers.update(started)

    def _empty_folder(self, name: str) -> Path:
        assert self._data is not None
        folder = self._data / name
        folder.mkdir(mode=0o700)
        return folder

    def _shut_down(self) -> None:
        """End the servers and remove every file, the lock last: who gets it then finds nothing of ours."""
        # A machine that cleans up old temporary files may have taken the lock file; then the folder belongs
        # to another supervisor by now.
        is_ours = self._state.is_locked_by(self._lock)
        if is_ours:
            self._state.socket.unlink(missing_ok=True)
        if self._listener is not None:
            self._listener.close()
        for server in self._servers.values():
            server.stop()
        if self._data is not None:
            shutil.rmtree(self._data, ignore_errors=True)
        if is_ours:
            self._state.remove()
        for client in self._stop_waiters:
            self._send(client, {"stopped": True})


def main(arguments: dict[str, Any]) -> None:
    """Run a supervisor in a process of its own; called by `deskbook.services.launcher` only.

    Args:
        arguments: `folder`; the file descriptors `lock`, `listener` and `owner`, of which the last two may be
            None; `settings`; `grace_s`.
    """
    if os.fork():
        # The parent ends, so that we are nobody's child: a Jupyter kernel ends its children with itself.
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    listener, owner = (
        socket.socket(fileno=number) if number is not None else None
        for number in (arguments["listener"], arguments["owner"])
    )
    state = StateFolder(Path(arguments["folder"]))
    state.note_owner()
    supervisor = Supervisor(
        state, arguments["lock"], listener, owner, arguments["settings"], arguments["grace_s"]
    )
    signal.signal(signal.SIGTERM, supervisor.request_stop)
    try:
        supervisor.run()
        remove_leftovers()
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        raise
