"""Start and end child processes of the supervisor."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deskbook.services.errors import ServicesError

_PR_SET_PDEATHSIG = 1
_LOG_TAIL_LINES = 5
_POLL_S = 0.005

#: Loaded once in the parent: a forked child may not take the dynamic linker's lock.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def end_with_parent(signal_number: int) -> Callable[[], None] | None:
    """Return a `preexec_fn` that makes Linux send `signal_number` to the child when this process dies.

    The kernel ties this to the thread that started the child, so only a main thread may use it; `subprocess`
    runs it after it changed the user, which would clear it (prctl(2), PR_SET_PDEATHSIG). Returns None
    elsewhere: there the next start finds and ends what was left.
    """
    libc = _libc
    if libc is None:
        return None
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # the parent died before the line above
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user PostgreSQL must run as: `nobody` for root, None for everybody else.

    Raises:
        ServicesError: the current user number has no entry in the user database, which initdb demands.
    """
    if os.geteuid() == 0:
        try:
            return pwd.getpwnam("nobody")
        except KeyError:
            raise ServicesError(
                "PostgreSQL refuses to run as root and this machine has no user `nobody` to run it as.",
                "Start this as an ordinary user, or set DATABASE_URL to a running server.",
            ) from None
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ServicesError(
            f"PostgreSQL refuses to start: the user number {os.geteuid()} has no entry in the user database "
            "(/etc/passwd).",
            "Start the container with a named user, or set DATABASE_URL to a running server.",
        ) from None
    return None


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


def stop(process: subprocess.Popen[bytes], first: int, *, timeout_s: float) -> None:
    """Send `first` and wait `timeout_s` seconds; a process that is still there is killed."""
    if process.poll() is None:
        process.send_signal(first)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout_s)


def command_of(pid: int) -> str:
    """Return the command line of process `pid`, or "" when there is none or it cannot be read."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    done = subprocess.run(
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
    )
    return done.stdout.strip()


def kill_if_ours(pid_file: Path, mark: str, signal_number: int, *, timeout_s: float = 5.0) -> None:
    """End the process named in `pid_file` if its command line contains `mark`, and wait until it has gone.

    A number in an old file may belong to a stranger by now; `mark` is a folder name with a random part that
    only our server has in its command line. After `timeout_s` seconds the process is killed.
    """
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    deadline = time.monotonic() + timeout_s
    while pid > 1 and mark in command_of(pid):
        try:
            os.kill(pid, signal_number if time.monotonic() < deadline else signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(_POLL_S)
