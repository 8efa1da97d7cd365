"""Find the interleaving that breaks an async service, show it, and prove the fix.

`explore` runs requests against a FastAPI (ASGI) application, or service functions against any object, in
every order that their awaits allow, and says which of four things is true: here is a counterexample; all
interleavings were tried; all up to a bound; the budget ended first. It needs nothing but httpx, and nothing
of the rest of this course. The idea on one page, and its limits: README.md next to this file.

    report = await explore(
        make_app,
        requests={"A": post("/withdraw", json={"amount": 60}), "B": post("/withdraw", json={"amount": 60})},
        invariant=check,
    )
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import BadSchedule, Deadlock, Diverged, Livelock, RaceError, UngatedIO, UnsupportedPython
    from .exploration import explore, explore_sync, replay
    from .gates import AsyncpgGate, RedisGate, SQLAlchemyGate
    from .http_request import Request, delete, get, patch, post, put, request
    from .outcome import Failure
    from .overlap import Overlap, can_overlap
    from .report import Counterexample, NotProven, RaceFound, Report
    from .timeline import Timeline

__all__ = [
    "AsyncpgGate",
    "BadSchedule",
    "Counterexample",
    "Deadlock",
    "Diverged",
    "Failure",
    "Livelock",
    "NotProven",
    "Overlap",
    "RaceError",
    "RaceFound",
    "RedisGate",
    "Report",
    "Request",
    "SQLAlchemyGate",
    "Timeline",
    "UngatedIO",
    "UnsupportedPython",
    "can_overlap",
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

#: Module -> its public names. Imported on first use: the pytest plugin lives here and must cost nothing
#: unused.
_HOMES = {
    "errors": (
        "BadSchedule",
        "Deadlock",
        "Diverged",
        "Livelock",
        "RaceError",
        "UngatedIO",
        "UnsupportedPython",
    ),
    "exploration": ("explore", "explore_sync", "replay"),
    "gates": ("AsyncpgGate", "RedisGate", "SQLAlchemyGate"),
    "outcome": ("Failure",),
    "overlap": ("Overlap", "can_overlap"),
    "report": ("Counterexample", "NotProven", "RaceFound", "Report"),
    "http_request": ("Request", "delete", "get", "patch", "post", "put", "request"),
    "timeline": ("Timeline",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
