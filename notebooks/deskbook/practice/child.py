"""One check, in a forked child of the worker: limits, the answer, the tests, and out.

The child tells what happens through a descriptor that the answer does not know. Whatever is left behind
(threads, patched functions, closed loops) ends with the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .answers import FILENAME, AnswerError, Namespace, read_fields
from .collector import Collector
from .guard import Guard
from .limits import limit_forks, limit_resources
from .own_lines import describe, remember_source

#: The exercise's plugins: assertion introspection and fixtures stay, all that prints or writes is out.
_WITHOUT = (
    "terminal cacheprovider faulthandler warnings capture stepwise junitxml pastebin doctest unittest "
    "logging threadexception unraisableexception debugging setuponly setupplan"
)
PYTEST_OPTIONS = [
    *("-c", os.devnull),
    *("--import-mode=importlib", "--exitfirst", "--strict-markers"),
    *(option for name in _WITHOUT.split() for option in ("-p", f"no:{name}")),
]

#: How long before its end a check writes down what runs, in seconds.
DUMP_BEFORE_END_S = 0.15


class Teller:
    """Writes news to the worker; functions that the answer could replace are kept from the start."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._write: Callable[[int, memoryview], int] = os.write
        self._encode = json.JSONEncoder().encode
        # A fork of the answer would else go on and tell its own story.
        os.register_at_fork(after_in_child=self._fall_silent)

    def _fall_silent(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def __call__(self, news: dict[str, Any]) -> None:
        """Write one line, whole."""
        data = memoryview(self._encode(news).encode() + b"\n")
        while data:
            data = data[self._write(self._descriptor, data) :]


def run_check(job: dict[str, Any], news: int, stacks: int) -> None:
    """Run one check and end the process.

    Args:
        job: `folder`, `source`, `limit_s`, `first_line`, and `fields` for an answer that is not code.
        news: Descriptor for news.
        stacks: Descriptor for what runs shortly before the end of the time.
    """
    leave = os._exit
    code = 1
    tell = Teller(news)
    try:
        limit_resources()
        limit_forks()
        guard = Guard()
        tell({"ready": True})
        faulthandler.dump_traceback_later(max(0.1, job["limit_s"] - DUMP_BEFORE_END_S), file=stacks)
        _check(job, tell, guard)
        code = 0
    except MemoryError:
        with contextlib.suppress(BaseException):
            tell({"error": {"message": "MemoryError", "lines": []}})
    except BaseException as error:
        with contextlib.suppress(BaseException):
            tell({"broken": f"{type(error).__name__}: {error}"})
    finally:
        leave(code)


def _check(job: dict[str, Any], tell: Callable[[dict[str, Any]], None], guard: Guard) -> None:
    tell({"running": "answer"})
    try:
        names = _answer(job)
    except AnswerError as error:
        tell({"error": {"message": str(error), "lines": [(error.line, "")] if error.line else []}})
        return
    except BaseException as error:
        tell({"error": describe(error)})
        return
    if replaced := guard.replaced():
        tell({"replaced": replaced})
        return
    if getattr(sys.stdout, "closed", False):  # from Python 3.14 on pytest's options ask it for colours
        sys.stdout = io.StringIO()
    checks = Path(job["folder"], "checks.py")
    # pytest takes a module of this name for the one it would import.
    sys.modules.pop("checks", None)
    collector = Collector(Namespace(names), tell)
    pytest.main([*PYTEST_OPTIONS, f"--rootdir={checks.parent}", str(checks)], plugins=[collector])
    if replaced := guard.replaced():
        tell({"replaced": replaced})
    tell({"finished": True})


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    """Run the answer, or read its fields; return what it defines."""
    source = "\n" * (job["first_line"] - 1) + job["source"]
    if job["fields"]:
        return read_fields(job["source"], job["fields"], job["first_line"])
    remember_source(source)
    module = types.ModuleType("answer")
    # Pydantic and dataclasses look for the module of a class by its name.
    sys.modules["answer"] = module
    exec(compile(source, FILENAME, "exec"), module.__dict__)  # noqa: S102 - to run the answer is the purpose
    return module.__dict__
