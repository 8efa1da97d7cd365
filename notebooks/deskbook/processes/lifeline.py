"""Let a process end with another one, however that one ends: with its parent, or when its stdin ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from deskbook.processes import linux


def end_with_parent(signal_number: int) -> Callable[[], None] | None:
    """Return a `preexec_fn` that makes Linux send `signal_number` to the child when this process dies.

    The kernel ties this to the thread that started the child, so only a main thread may use it; `subprocess`
    runs it after it changed the user, which would clear it (prctl(2), PR_SET_PDEATHSIG). Returns None
    elsewhere: there the next start finds and ends what was left.
    """
    if not linux.has_prctl():
        return None
    parent = os.getpid()

    def prepare() -> None:
        end_with(parent, signal_number)

    return prepare


def end_with(parent: int, signal_number: int) -> None:
    """In a forked child: let Linux send this signal to it when its parent dies.

    Args:
        parent: The parent's number, read before the fork: afterwards it may be that of somebody else.
        signal_number: What is sent.
    """
    linux.prctl(linux.PR_SET_PDEATHSIG, signal_number)
    if linux.has_prctl() and os.getppid() != parent:  # the parent died before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def end_with_stdin(stop: Callable[[], object], *, patience_s: float) -> None:
    """Watch stdin in a thread, and end this process when the pipe closes.

    Whoever started the process holds the other end, and lets go of it even when killed with -9.

    Args:
        stop: Asks this process to end, such as a server at its next turn.
        patience_s: Seconds that it gets, before a request or a blocked loop that holds it up is killed with
            everything that it has started.
    """

    def watch() -> None:
        while os.read(0, 1024):
            pass
        stop()
        time.sleep(patience_s)
        # Only where the group is its own: otherwise the kill would reach whoever started it.
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with stdin").start()
