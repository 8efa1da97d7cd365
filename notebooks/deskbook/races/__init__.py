"""Find the interleaving that breaks an async service, show it, and prove the fix.

`explore` runs requests against a FastAPI (ASGI) application, or service functions against any object, in every
order that their awaits allow, and says which of four things is true: here is a counterexample; all interleavings
were tried; all up to a bound; the budget ended first. It needs nothing but httpx, and nothing of the rest of this
course. The idea on one page, and its limits: README.md next to this file.

    report = await explore(
        make_app,
        requests={"A": post("/withdraw", json={"amount": 60}), "B": post("/withdraw", json={"amount": 60})},
        invariant=check,
    )
"""

from __future__ import annotations

from .errors import BadSchedule, Deadlock, Diverged, Livelock, RaceError, UngatedIO
from .exploration import explore, explore_sync, replay
from .outcome import Failure
from .report import Counterexample, NotProven, RaceFound, Report
from .request import Request, delete, get, patch, post, put, request
from .timeline import Timeline

__all__ = [
    "BadSchedule",
    "Counterexample",
    "Deadlock",
    "Diverged",
    "Failure",
    "Livelock",
    "NotProven",
    "RaceError",
    "RaceFound",
    "Report",
    "Request",
    "Timeline",
    "UngatedIO",
    "delete",
    "explore",
    "explore_sync",
    "get",
    "patch",
    "post",
    "put",
    "replay",
    "request",
]
