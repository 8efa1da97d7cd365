"""Find the interleaving that breaks an async service, show it, and prove the fix.

`explore` runs requests against a FastAPI (ASGI) application, or service functions against any object, in
every order that their awaits allow, and says which of four things is true: here is a counterexample; all
interleavings were tried; all up to a bound; the budget ended first. It needs nothing but httpx, and nothing
of the rest of this course. README.md next to this file tells the idea and its limits on one page.

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
    from deskbook.races._errors import (
        BadSchedule,
        Deadlock,
        Diverged,
        Livelock,
        RaceError,
        UngatedIO,
        UnsupportedPython,
    )
    from deskbook.races._exploration import explore, explore_sync, replay
    from deskbook.races._gates import AsyncpgGate, PsycopgGate, RedisGate, SQLAlchemyGate
    from deskbook.races._loop.stubs import suspends
    from deskbook.races._overlap import Overlap, can_overlap
    from deskbook.races._story.outcome import Failure
    from deskbook.races._story.report import Counterexample, NotProven, RaceFound, Report
    from deskbook.races._story.timeline import Timeline
    from deskbook.races._subject.http_request import (
        Request,
        delete,
        get,
        patch,
        post,
        put,
        request,
        stream,
    )
    from deskbook.races._subject.sequence import in_sequence
    from deskbook.races._subject.websocket import websocket

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
    "PsycopgGate",
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
    "in_sequence",
    "patch",
    "post",
    "put",
    "replay",
    "request",
    "stream",
    "suspends",
    "websocket",
]

#: Each module has these public names. They are imported on first use: the pytest plugin lives here, and a
#: suite that never asks for it must not pay for the explorer.
_HOMES = {
    "_errors": (
        "BadSchedule",
        "Deadlock",
        "Diverged",
        "Livelock",
        "RaceError",
        "UngatedIO",
        "UnsupportedPython",
    ),
    "_exploration": ("explore", "explore_sync", "replay"),
    "_gates": ("AsyncpgGate", "PsycopgGate", "RedisGate", "SQLAlchemyGate"),
    "_loop.stubs": ("suspends",),
    "_overlap": ("Overlap", "can_overlap"),
    "_story.outcome": ("Failure",),
    "_story.report": ("Counterexample", "NotProven", "RaceFound", "Report"),
    "_story.timeline": ("Timeline",),
    "_subject.http_request": ("Request", "delete", "get", "patch", "post", "put", "request", "stream"),
    "_subject.sequence": ("in_sequence",),
    "_subject.websocket": ("websocket",),
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
