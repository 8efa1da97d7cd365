"""Threads of the service's own that live during a run: nobody decides when they go on.

A janitor that expires entries, an exporter of metrics, a connection that reads in the background: what such a
thread does between two steps is another thing in every run. The explorer cannot hold it, so it says its name.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from deskbook.races import _frames as frames

#: The package that the explorer is a part of: what it starts for a notebook is nobody's service.
_TOOLKIT = str(Path(__file__).parents[2]) + os.sep


class Bystanders:
    """Notices the threads that run beside a search.

    Attributes:
        found: What they are called, as people read it.
    """

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._before = set(threading.enumerate())

    def look(self) -> None:
        """Note the threads that are there now and were started by the service."""
        for thread in threading.enumerate():
            is_known = thread in self._before and not _is_of_the_service(thread)
            if not is_known and not isinstance(thread, threading._DummyThread):
                self.found.add(_described(thread))


def _is_of_the_service(thread: threading.Thread) -> bool:
    """Tell whether a thread that was there before runs code of the service, imported earlier."""
    code = _code_of(thread)
    return (
        code is not None and frames.is_shown(code.co_filename) and not code.co_filename.startswith(_TOOLKIT)
    )


def _code_of(thread: threading.Thread) -> Any:
    target = getattr(thread, "_target", None) or getattr(thread, "function", None) or type(thread).run
    function = getattr(target, "__func__", target)
    return getattr(function, "__code__", None)


def _described(thread: threading.Thread) -> str:
    code = _code_of(thread)
    return f"a thread that runs {code.co_qualname}" if code is not None else "a thread of its own"
