"""Does a service keep state in its memory? Then it matters who runs between a statement and the next line.

At a gate the return of a statement and the code that follows it are one step. Where all state is in the
server that leaves nothing out. Where the service also writes to its memory, an order in which another
request comes in between is not tried, and the report must say so. What is looked at: the state of the
application, and what its endpoints reach by their globals and closures, as far as it is made of plain values,
containers and objects of the service's own classes.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._story.outcome import default_state

#: How deep containers and objects are looked into, and how many values are looked at.
_MAX_DEPTH, _MAX_VALUES = 5, 5_000
_PLAIN = (type(None), bool, int, float, str, bytes)
_SEQUENCES = (list, tuple, set, frozenset, collections.deque)


def snapshot(app: Any) -> Any:
    """Return what can be seen of a service's memory, to be compared with a later snapshot."""
    left = [_MAX_VALUES]
    seen: dict[str, Any] = {"state": _copy(default_state(app), 0, left)}
    for function in _endpoints(app):
        name = f"{function.__module__}.{function.__qualname__}"
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                seen[f"{name} {variable}"] = _copy(cell.cell_contents, 0, left)
            except ValueError:
                continue  # a variable that has no value yet
        if function.__module__ not in seen:
            seen[function.__module__] = [
                (key, _copy(value, 0, left))
                for key, value in list(function.__globals__.items())
                if not key.startswith("__")
            ]
    state = getattr(app, "state", None)
    seen["objects"] = _copy(getattr(state, "_state", None) or getattr(app, "__dict__", None), 0, left)
    return seen


def _endpoints(app: Any) -> Iterator[FunctionType]:
    """Yield the service's functions that requests reach: endpoints and their dependencies."""
    waiting = [getattr(route, "dependant", None) for route in getattr(app, "routes", ())]
    while waiting:
        dependant = waiting.pop()
        if dependant is None:
            continue
        function = getattr(dependant, "call", None)
        if isinstance(function, FunctionType):
            yield function
        waiting.extend(getattr(dependant, "dependencies", ()))


def _copy(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if isinstance(value, _PLAIN):
        return value
    if depth > _MAX_DEPTH or left[0] < 0:
        return None
    if isinstance(value, Mapping):
        items = list(value.items())
        return [(repr(_copy(key, depth + 1, left)), _copy(item, depth + 1, left)) for key, item in items]
    if isinstance(value, _SEQUENCES):
        return [_copy(item, depth + 1, left) for item in value]
    if not isinstance(value, type) and _is_of_the_service(type(value)):
        return _copy(dict(getattr(value, "__dict__", {})), depth + 1, left)
    return None


def _is_of_the_service(cls: type) -> bool:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return isinstance(file, str) and frames.is_shown(file)
