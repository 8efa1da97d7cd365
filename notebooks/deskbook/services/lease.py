"""The client's side of the supervisor: get a lease, hold it, ask for status, stop."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from deskbook.services import launcher
from deskbook.services.binaries import Binaries
from deskbook.services.errors import ServicesError
from deskbook.services.model import Service
from deskbook.services.server import log_tail
from deskbook.services.state import StateFolder

_DEADLINE_S = 60.0
_ANSWER_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.01
_ATTEMPTS = 3


class Lease:
    """An open connection to a supervisor; its servers run at least until it is closed.

    A forked child holds a copy: the servers then run until parent and child are gone. A program started with
    exec (`subprocess`) holds none.

    Args:
        connection: Connected socket.
        state: The state folder of the supervisor, for its log.
    """

    def __init__(self, connection: socket.socket, state: StateFolder) -> None:
        self._connection = connection
        self._state = state
        self._connection.settimeout(_ANSWER_TIMEOUT_S)

    def request(self, binaries: Mapping[str, Binaries]) -> dict[str, Service]:
        """Ask for servers.

        Raises:
            ConnectionError: The supervisor ended before it answered.
            ServicesError: A server could not be started; the message has the reason.
        """
        wanted = {name: found.as_dict() for name, found in binaries.items()}
        answer = ask(self._connection, {"op": "lease", "pid": os.getpid(), "binaries": wanted})
        if "error" in answer:
            raise ServicesError(*answer["error"])
        self._connection.setblocking(False)  # from here on it is only looked at, never waited on
        return {name: Service(**answer["services"][name]) for name in binaries}

    def is_alive(self) -> bool:
        """Say whether the supervisor still holds its end."""
        try:
            return self._connection.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def stop(self) -> None:
        """End the servers and wait until they are gone; for the only holder of a lease."""
        self._connection.settimeout(_STOP_TIMEOUT_S)
        with contextlib.suppress(ConnectionError):  # it has ended already
            ask(self._connection, {"op": "stop"})

    def close(self) -> None:
        """Give the lease back."""
        self._connection.close()


def acquire(state: StateFolder, binaries: Mapping[str, Binaries]) -> tuple[Lease, dict[str, Service]]:
    """Get a lease on the servers of `state`, starting supervisor and servers where they do not run.

    Raises:
        ServicesError: They cannot be started.
    """
    deadline = time.monotonic() + _DEADLINE_S
    failures = 0
    while time.monotonic() < deadline:
        connection = connect_or_launch(state)
        if connection is None:
            time.sleep(_POLL_S)
            continue
        lease = Lease(connection, state)
        try:
            return lease, lease.request(binaries)
        except ConnectionError:  # it was about to end; the next turn starts another
            lease.close()
            failures += 1
            if failures >= _ATTEMPTS and state.log.exists():
                break
        except BaseException:
            lease.close()
            raise
    raise ServicesError(
        f"The process that owns the servers does not answer ({log_tail(state.log)}).",
        "Run `deskbook services stop`, then try again.",
    )


def connect_or_launch(state: StateFolder) -> socket.socket | None:
    """Connect to the supervisor, starting one if none is alive; None while one starts or ends."""
    connection = connect(state)
    if connection is None:
        state.create()
        lock = state.try_lock()
        if lock is not None:
            launcher.launch_shared(state, lock)
            connection = connect(state)
    return connection


def connect(state: StateFolder) -> socket.socket | None:
    """Connect to a supervisor that is there."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_ANSWER_TIMEOUT_S)
    try:
        connection.connect(str(state.socket))
    except OSError:
        connection.close()
        return None
    return connection


def ask(connection: socket.socket, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send one request and read its answer.

    Raises:
        ConnectionError: The supervisor ended before it answered.
        ServicesError: It did not answer in time.
    """
    try:
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            chunk = connection.recv(65_536)
            if not chunk:
                raise ConnectionResetError("the supervisor ended")
            answer += chunk
    except TimeoutError:
        raise ServicesError(
            "The process that owns the servers did not answer in time.",
            "Run `deskbook services stop`, then try again.",
        ) from None
    decoded: dict[str, Any] = json.loads(answer)
    return decoded
