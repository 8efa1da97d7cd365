"""What a killed process could not remove: its folders, the servers it owned, the children of its children."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deskbook.processes import linux

_POLL_S = 0.005


def make_own_folder(prefix: str) -> Path:
    """Make a folder for temporary files whose name says which process owns it.

    The caller removes it. Folders of dead processes with the same prefix are removed on the way.

    Args:
        prefix: Start of the name, such as "deskbook-modules-"; the process number follows.
    """
    remove_folders_of_the_dead(prefix)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


def remove_folders_of_the_dead(prefix: str) -> None:
    """Remove the folders with this prefix whose process is dead, as far as this user may remove them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        owner = folder.name.removeprefix(prefix).split("-")[0]
        if owner.isdigit() and not is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Say whether there is a process of this number."""
    if sys.platform == "win32":
        import psutil  # On Windows, os.kill with 0 would interrupt the process.

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True


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


def adopt_orphans() -> None:
    """Let Linux make this process the parent of what its dead children have started."""
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)


def end_orphans() -> None:
    """Kill and reap all children of this process, those included that it has adopted."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            import psutil  # It is imported here, because hardly any process leaves an orphan.

            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            time.sleep(0.001)
