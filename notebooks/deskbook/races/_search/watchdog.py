"""The end of a search whose code never comes back: a budget is kept, whatever the service does.

Between two steps the searches look at the clock. A call that blocks the whole process (a query of a sync
driver in `make_app`, a lock that nobody frees) lets them do that never again. A signal does get through: it
is set for some seconds after the budget has ended, and says at which line the service stood.
"""

from __future__ import annotations

import signal
import threading
import types
from typing import Any

from deskbook.races import _frames as frames

#: Seconds after the end of the budget before a search is broken off.
GRACE_S = 5.0


class TookTooLong(KeyboardInterrupt):
    """The budget ended some seconds ago and the code did not come back.

    It is a KeyboardInterrupt, which asyncio hands on at once and services do not catch.
    """


class Watchdog:
    """While entered, breaks off what runs longer than its budget, where the platform can.

    Only the main thread gets signals, and one that is in use (a test runner's own limit) is left alone.

    Args:
        seconds: The time that is left.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_set = False

    def __enter__(self) -> Watchdog:
        usable = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
        if usable and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL:
            signal.signal(signal.SIGALRM, _break_off)
            signal.setitimer(signal.ITIMER_REAL, max(self._seconds, 0.0) + GRACE_S, GRACE_S)
            self._is_set = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._is_set:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _break_off(number: int, frame: types.FrameType | Any) -> None:
    while frame is not None and not frames.is_shown(frame.f_code.co_filename):
        frame = frame.f_back
    where = "" if frame is None else f" at «{frames.source_line(frame.f_code, frame.f_lineno)}»"
    raise TookTooLong(f"the budget ended, and the code still had not come back{where}; nothing is proven")
