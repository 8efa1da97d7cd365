"""The owner's side of the fork server: start it on first need, send it orders, end it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from deskbook.processes.fork_child import LENGTH_BYTES
from deskbook.processes.forked_process import NOT_BEGUN, ForkedProcess, ForkServerError
from deskbook.processes.socket_child import SocketChild


class ForkServer:
    """A process that has imported some modules and forks others; it starts with the first one asked for.

    It ends with the process that owns it, or with `close`.

    Args:
        modules: What it imports. Name none that may change while it runs: its forks would get the old one.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        # Without it the orders of two threads would mix on the socket, or start two servers.
        self._lock = threading.Lock()
        self._child: SocketChild | None = None
        self._python_variables: dict[str, str] = {}

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Say whether a fork would be what a fresh interpreter is in this environment.

        Linux alone: elsewhere system libraries do not survive a fork. Variables such as PYTHONASYNCIODEBUG
        are read when an interpreter starts, and the one of the fork server has started already.
        """
        if sys.platform != "linux":
            return False
        with self._lock:
            running = self._python_variables if self._is_running() else _python_variables(os.environ)
        return _python_variables(environment) == running

    def start(
        self, function: str, arguments: Sequence[str], *, environment: Mapping[str, str], log: IO[bytes]
    ) -> ForkedProcess:
        """Start a process in a session of its own, in the folder of this one; returns at once.

        Args:
            function: "module:name" of what it calls.
            arguments: What it finds in `sys.argv[1:]`.
            environment: Its environment variables.
            log: Its stderr.

        Raises:
            ForkServerError: The server ends as soon as it is started.
        """
        wanted = {
            "function": function,
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(Path.cwd()),
        }
        order = json.dumps(wanted).encode()
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            report, their_report = socket.socketpair()
            theirs.enter_context(their_report)
            their_stdin, our_stdin = os.pipe()
            our_stdout, their_stdout = os.pipe()
            theirs.callback(os.close, their_stdin)
            theirs.callback(os.close, their_stdout)
            process = ForkedProcess(
                ours.enter_context(report),
                ours.enter_context(os.fdopen(our_stdin, "wb", 0)),
                ours.enter_context(os.fdopen(our_stdout, "rb")),
            )
            self._send(order, [their_report.fileno(), their_stdin, their_stdout, log.fileno()])
            ours.pop_all()
        return process

    def close(self) -> None:
        """End the server; its forks go on."""
        with self._lock:
            self._end()

    def _send(self, order: bytes, descriptors: list[int]) -> None:
        with self._lock:
            for last_try in (False, True):
                control = self._running()
                try:
                    socket.send_fds(control, [len(order).to_bytes(LENGTH_BYTES, "big")], descriptors)
                    control.sendall(order)
                except OSError:  # it was killed
                    self._end()
                    if last_try:
                        raise ForkServerError(NOT_BEGUN) from None
                else:
                    return

    def _is_running(self) -> bool:
        """Say whether there is a server of this process; a fork of the owner leaves its server alone."""
        return self._child is not None and self._child.is_alive()

    def _running(self) -> socket.socket:
        if self._child is None or not self._is_running():
            self._end()
            self._child = SocketChild("deskbook.processes.fork_child", *self._modules)
            self._python_variables = _python_variables(os.environ)
            atexit.register(self.close)
        return self._child.socket

    def _end(self) -> None:
        atexit.unregister(self.close)
        if self._child is not None:
            self._child.close()
            self._child = None


def _python_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an interpreter reads when it starts; a fork can follow PYTHONPATH alone."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("PYTHON") and name != "PYTHONPATH"
    }
