"""Start a supervisor, handing it the lock and the socket so that there is no moment without an owner."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deskbook.services.errors import ServicesError
from deskbook.services.state import StateFolder
from deskbook.services.supervisor import GRACE_S

#: Environment variable: how long servers outlive their last client, instead of GRACE_S.
GRACE_VARIABLE = "DESKBOOK_SERVICES_GRACE_S"

_START_TIMEOUT_S = 20.0
_BACKLOG = 128
_AGAIN = "Try again; if it stays, set DATABASE_URL and REDIS_URL to running servers."

#: -I and -S: no site-packages, no current folder, no PYTHON* variables; the supervisor needs the standard
#: library only, and starts in half the time.
_PROGRAM = (
    "import json, sys; arguments = json.loads(sys.argv[1]); sys.path.insert(0, arguments.pop('path')); "
    "from deskbook.services.supervisor import main; main(arguments)"
)


def launch_shared(state: StateFolder, lock: int) -> None:
    """Start the supervisor of `state`; clients may connect as soon as this returns.

    The caller holds `lock`; the new process inherits it. If the caller dies half way, either the lock is free
    or a supervisor holds it.

    Args:
        state: The state folder.
        lock: Descriptor from `StateFolder.try_lock`; closed here.

    Raises:
        ServicesError: The process could not be started.
    """
    with os.fdopen(lock), socket.socket(socket.AF_UNIX) as listener:
        state.clear()
        listener.bind(str(state.socket))
        listener.listen(_BACKLOG)
        _launch(
            state,
            {
                "lock": lock,
                "listener": listener.fileno(),
                "owner": None,
                "grace_s": _grace_s(),
                "settings": {},
            },
        )


def launch_private(state: StateFolder, lock: int, settings: Mapping[str, Mapping[str, str]]) -> socket.socket:
    """Start a supervisor that serves this process alone and ends with it.

    Args:
        state: A new state folder.
        lock: Descriptor from `StateFolder.try_lock`; closed here.
        settings: Settings by service name.

    Returns:
        The only connection to it.

    Raises:
        ServicesError: The process could not be started.
    """
    ours, theirs = socket.socketpair()
    with os.fdopen(lock), theirs:
        _launch(
            state,
            {"lock": lock, "listener": None, "owner": theirs.fileno(), "grace_s": 0.0, "settings": settings},
        )
    return ours


def _grace_s() -> float:
    given = os.environ.get(GRACE_VARIABLE, "").strip()
    try:
        return max(0.0, float(given)) if given else GRACE_S
    except ValueError:
        raise ServicesError(
            f"{GRACE_VARIABLE} is {given!r}, but it must be a number of seconds.", "Correct it or unset it."
        ) from None


def _launch(state: StateFolder, arguments: dict[str, Any]) -> None:
    package_root = str(Path(__file__).resolve().parents[2])
    arguments |= {"path": package_root, "folder": str(state.path)}
    descriptors = [arguments[name] for name in ("lock", "listener", "owner") if arguments[name] is not None]
    with state.log.open("ab") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, json.dumps(arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=descriptors,
                # Its own session: an interrupted kernel or a Ctrl-C signals the whole process group.
                start_new_session=True,
                timeout=_START_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServicesError(f"The process that owns the servers cannot start: {error}.", _AGAIN) from None
    if done.returncode != 0:
        tail = state.log.read_text(errors="replace").strip().splitlines()[-3:]
        raise ServicesError(f"The process that owns the servers ended at once: {' / '.join(tail)}.", _AGAIN)
