"""What a run came to, in a form that can be compared and printed the same way on every machine."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import httpx

#: Headers that say how or when an answer was sent, and nothing about what the service decided.
UNCOMPARED_HEADERS = frozenset(
    {"connection", "content-length", "date", "server", "server-timing", "x-process-time"}
)


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a run is a counterexample.

    Attributes:
        kind: "invariant", "not serializable", "crash", "deadlock" or "livelock".
        message: One or more sentences.
    """

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def frozen(value: Any, _around: tuple[int, ...] = ()) -> Any:
    """Return a hashable copy of plain data, without addresses.

    Args:
        value: What a request returned, or what was observed. An object may lead back to itself.
    """
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if id(value) in _around:
        return ("around", len(_around) - _around.index(id(value)))
    around = (*_around, id(value))
    if isinstance(value, Mapping):
        items = ((repr(frozen(key, around)), frozen(item, around)) for key, item in value.items())
        return ("mapping", *sorted(items, key=repr))
    if isinstance(value, (set, frozenset)):
        return ("set", *sorted((frozen(item, around) for item in value), key=repr))
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item, around) for item in value)
    if isinstance(value, httpx.Response):
        return frozen_response(value)
    if isinstance(value, BaseException):
        return ("exception", type(value).__name__, str(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return (type(value).__name__, frozen(fields, around))
    text = repr(value)
    if " at 0x" in text:
        return (type(value).__name__, frozen(_attributes(value), around))
    return text


def frozen_response(response: httpx.Response) -> tuple[Any, ...]:
    """Return what a client gets: the status, the body, and the headers that the service chose."""
    return ("response", response.status_code, response.content, _compared(tuple(response.headers.raw)))


@functools.lru_cache(maxsize=256)
def _compared(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[str, str], ...]:
    """Return the headers that are compared. Thousands of answers have the same few."""
    texts = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
    return tuple(sorted((name, value) for name, value in texts if name not in UNCOMPARED_HEADERS))


def _attributes(value: object) -> dict[str, Any]:
    # SQLAlchemy's bookkeeping leads from an instance to its session, and from there to everything.
    return {
        name: item for name, item in getattr(value, "__dict__", {}).items() if name != "_sa_instance_state"
    }


def describe(value: Any) -> str:
    """Return one short line for a response, a result or an exception."""
    if isinstance(value, httpx.Response):
        failure = value.extensions.get("exception")
        body = value.text if len(value.text) <= 60 else value.text[:57] + "..."
        note = f" ({type(failure).__name__}: {failure})" if failure is not None else ""
        return f"{value.status_code} {body}".strip() + note
    if isinstance(value, list) and value and all(isinstance(item, httpx.Response) for item in value):
        return ", then ".join(map(describe, value))
    if isinstance(value, BaseException):
        text = str(value)
        return f"{type(value).__name__}: {text}" if text else type(value).__name__
    text = repr(value)
    if " at 0x" in text:
        text = type(value).__name__
    return text if len(text) <= 80 else text[:77] + "..."


def default_state(app: Any) -> dict[str, Any]:
    """Return what is compared and shown by default: the plain values of `app.state`, or of the object."""
    holder = getattr(app, "state", None)
    values = getattr(holder, "_state", None)
    if not isinstance(values, Mapping):
        values = getattr(holder, "__dict__", None)
    if not isinstance(values, Mapping):
        values = {} if callable(app) else getattr(app, "__dict__", {})
    return {
        str(name): value
        for name, value in values.items()
        if not str(name).startswith("_") and _is_plain(value)
    }


def _is_plain(value: Any, depth: int = 0) -> bool:
    if value is None or isinstance(value, (bool, int, float, str)):
        return True
    if depth > 2:
        return False
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_is_plain(item, depth + 1) for item in value)
    return isinstance(value, dict) and all(_is_plain(item, depth + 1) for item in value.values())
