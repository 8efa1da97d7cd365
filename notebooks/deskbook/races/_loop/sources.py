"""Remember where functions stand in their files, while apps are made by the thousand.

FastAPI asks `inspect.getsourcelines` for every endpoint that it meets for the first time, and with a fresh
app for every schedule every endpoint is new. Their code objects are not: the same `def` compiles once.
"""

from __future__ import annotations

import inspect
from typing import Any


class RememberedSources:
    """While entered, `inspect.getsourcelines` looks each code object up once."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def __enter__(self) -> RememberedSources:
        self._original = inspect.getsourcelines
        inspect.getsourcelines = self._lookup  # type: ignore[assignment]
        return self

    def __exit__(self, *exc_info: object) -> None:
        inspect.getsourcelines = self._original

    def _lookup(self, subject: Any) -> Any:
        code = getattr(subject, "__code__", None)
        if code is None:
            return self._original(subject)
        found = self._known.get(code)
        if found is None:
            lines, start = self._original(subject)
            found = self._known[code] = (tuple(lines), start)
        return list(found[0]), found[1]
