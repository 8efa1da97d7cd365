"""The fork server's own process: it imports what is named, then forks a process for each order.

It has one thread and no event loop, so a fork copies no lock that another thread holds. It ends when its
socket closes, which happens when its owner ends, however that ends. Its forks go on: each has a lifeline of
its own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

from deskbook.processes.memory import settle

#: An order starts with its length in this many bytes, and with the descriptors that go with it.
LENGTH_BYTES = 8
DESCRIPTORS = 4


class ForkOrder:
    """One process that is asked for.

    Attributes:
        report: Where the pid of the process goes, and later its exit code.
    """

    def __init__(self, wanted: dict[str, Any], descriptors: list[int]) -> None:
        report, *self._standard = descriptors
        self.report = socket.socket(fileno=report)
        self._wanted = wanted

    def close(self) -> None:
        """Let go of what belongs to the new process alone."""
        for descriptor in self._standard:
            os.close(descriptor)

    def refuse(self, error: OSError) -> None:
        """Say in its log that there will be no process, and report an end that it never had."""
        os.write(self._standard[2], f"No process could be forked: {error.strerror}.\n".encode())
        with self.report, contextlib.suppress(OSError):  # nobody may wait any more
            self.report.sendall(b"exit 1\n")

    def run(self) -> None:
        """Become the process, in a session of its own, and run its function."""
        os.setsid()
        with self.report:
            self.report.sendall(b"pid %d\n" % os.getpid())  # not earlier: who knows it may kill the group
        for place, descriptor in enumerate(self._standard):
            os.dup2(descriptor, place)
        self.close()
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
        _enter(self._wanted["environment"], self._wanted["folder"])
        module, _, name = self._wanted["function"].partition(":")
        sys.argv = [module, *self._wanted["arguments"]]
        getattr(importlib.import_module(module), name)()


def _enter(environment: dict[str, str], folder: str) -> None:
    """Take over environment and folder; what PYTHONPATH names comes first, as in a fresh interpreter."""
    before, after = (
        list(filter(None, variables.get("PYTHONPATH", "").split(os.pathsep)))
        for variables in (os.environ, environment)
    )
    sys.path[:] = [*after, *(entry for entry in sys.path if entry not in {*before, *after})]
    importlib.invalidate_caches()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)


def serve(owner: socket.socket) -> ForkOrder | None:
    """Fork for each order until the owner is gone.

    Returns:
        In a forked process the order that it is to run; in the fork server itself, at its end, None.
    """
    reports: dict[int, socket.socket] = {}
    with _woken_by_ends() as ends:
        while True:
            readable, _, _ = select.select([owner.fileno(), ends], [], [])
            if ends in readable:
                os.read(ends, 4096)
                _report_ends(reports)
            if owner.fileno() in readable:
                order = _receive(owner)
                if order is None:
                    return None
                try:
                    pid = os.fork()
                except OSError as error:  # no memory, or too many processes: the others go on
                    order.refuse(error)
                else:
                    if pid == 0:
                        for report in reports.values():
                            report.close()
                        return order
                    reports[pid] = order.report
                order.close()


@contextlib.contextmanager
def _woken_by_ends() -> Iterator[int]:
    """Yield a descriptor that is readable when a child has ended."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)  # SIG_DFL would wake nobody
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, before)
        os.close(read)
        os.close(write)


def _report_ends(reports: dict[int, socket.socket]) -> None:
    for pid in list(reports):
        # First the code, then the number is freed, then the end of the report: who sees that the number is
        # free finds the code, and who has read to the end finds the number free.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            with reports.pop(pid) as report:
                with contextlib.suppress(OSError):  # nobody may wait any more
                    report.sendall(b"exit %d\n" % code)
                os.waitpid(pid, 0)


def _receive(owner: socket.socket) -> ForkOrder | None:
    """Read one order, or return None when the owner is gone."""
    try:
        head, descriptors, _, _ = socket.recv_fds(owner, LENGTH_BYTES, DESCRIPTORS, socket.MSG_WAITALL)
        if len(head) < LENGTH_BYTES:
            return None
        size_bytes, wanted = int.from_bytes(head, "big"), b""
        # Not MSG_WAITALL: the end of another fork would interrupt it, with half of a long order.
        while len(wanted) < size_bytes and (part := owner.recv(size_bytes - len(wanted))):
            wanted += part
        return ForkOrder(json.loads(wanted), descriptors)
    except (OSError, ValueError):  # killed in the middle of an order
        return None


def main() -> None:
    """Import, serve, and in a fork run its order."""
    _, descriptor, *modules = sys.argv
    with socket.socket(fileno=int(descriptor)) as owner:
        for module in modules:
            with contextlib.suppress(Exception):  # the process that needs it will say so
                importlib.import_module(module)
        settle()
        order = serve(owner)
    if order is not None:
        order.run()


if __name__ == "__main__":
    main()
