"""Notice an answer that replaces a function under the checker.

`time.sleep = lambda seconds: None` makes every test about waiting pass. It is an accident of copying more
often than a plan, and the learner deserves the sentence either way. Names that begin with `_` and
`sys.stdout` and its like may change: libraries keep their own state there.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import json
import os
import threading
import time
import types
from typing import Any

import httpx

#: Modules whose functions and classes the checks rely on.
WATCHED = (
    builtins,
    time,
    threading,
    asyncio,
    asyncio.events,
    asyncio.locks,
    asyncio.queues,
    asyncio.runners,
    asyncio.tasks,
    asyncio.threads,
    contextlib,
    json,
    httpx,
    os,
)

_MAY_CHANGE = {"environ", "excepthook"}


class Guard:
    """Remembers what the watched modules hold, and says what was replaced since."""

    def __init__(self) -> None:
        self._before = [(owner, name, value) for owner in _owners() for name, value in _public(owner)]

    def replaced(self) -> list[str]:
        """Return the names that were replaced or removed, and put them back."""
        found = []
        for owner, name, value in self._before:
            now = vars(owner).get(name)
            if now is not value:
                found.append(f"{_name_of(owner)}.{name}".removeprefix("builtins."))
                with contextlib.suppress(TypeError, AttributeError):
                    setattr(owner, name, value)
        return sorted(set(found))


def _owners() -> list[Any]:
    owners: dict[int, Any] = {}
    for module in WATCHED:
        owners[id(module)] = module
        for _, value in _public(module):
            if isinstance(value, type) and value.__module__.split(".")[0] == module.__name__.split(".")[0]:
                owners[id(value)] = value
    return list(owners.values())


def _public(owner: Any) -> list[tuple[str, Any]]:
    return [
        (name, value)
        for name, value in vars(owner).items()
        if not name.startswith("_") and name not in _MAY_CHANGE and not isinstance(value, types.ModuleType)
    ]


def _name_of(owner: Any) -> str:
    module = owner.__name__ if isinstance(owner, types.ModuleType) else owner.__module__
    top = module.split(".")[0]
    return top if isinstance(owner, types.ModuleType) else f"{top}.{owner.__name__}"
