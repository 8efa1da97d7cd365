"""One check, in a forked child of the worker: limits, the answer, the tests, and out.

The child tells what happens through a descriptor that the answer does not know. Whatever is left behind
(threads, patched functions, closed loops) ends with the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deskbook.practice import for_checks
from deskbook.practice.checking.collector import Collector
from deskbook.practice.checking.guard import Guard
from deskbook.practice.checking.limits import limit_forks, limit_resources
from deskbook.practice.checking.own_lines import describe, remember_source
from deskbook.practice.checking.protocol import ANSWER, Job, News, line_of
from deskbook.practice.exercise.answers import FILENAME, AnswerError, Namespace, read_fields

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
        self._line_of = line_of
        # A fork of the answer would else go on and tell its own story.
        os.register_at_fork(after_in_child=self._fall_silent)

    def _fall_silent(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def __call__(self, news: News) -> None:
        """Write one line, whole."""
        data = memoryview(self._line_of(news))
        while data:
            data = data[self._write(self._descriptor, data) :]


def run_check(job: Job, news: int, stacks: int) -> None:
    """Run one check and end the process.

    Args:
        job: What is to be checked.
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
        tell({"kind": "ready"})
        faulthandler.dump_traceback_later(max(0.1, job["limit_s"] - DUMP_BEFORE_END_S), file=stacks)
        _check(job, tell, guard)
        code = 0
    except MemoryError:
        with contextlib.suppress(BaseException):
            tell({"kind": "refused", "problem": {"message": "MemoryError", "lines": []}})
    except BaseException as error:
        with contextlib.suppress(BaseException):
            tell({"kind": "broken", "reason": f"{type(error).__name__}: {error}"})
    finally:
        leave(code)


def _check(job: Job, tell: Callable[[News], None], guard: Guard) -> None:
    tell({"kind": "running", "what": ANSWER})
    try:
        names = _answer(job)
    except AnswerError as error:
        lines = [(error.line, "")] if error.line else []
        tell({"kind": "refused", "problem": {"message": str(error), "lines": lines}})
        return
    except BaseException as error:
        tell({"kind": "refused", "problem": describe(error)})
        return
    if replaced := guard.replaced():
        tell({"kind": "replaced", "names": replaced})
        return
    if getattr(sys.stdout, "closed", False):  # from Python 3.14 on pytest's options ask it for colours
        sys.stdout = io.StringIO()
    checks = Path(job["folder"], "checks.py")
    # pytest takes a module of this name for the one it would import.
    sys.modules.pop("checks", None)
    collector = Collector(Namespace(names), tell)
    options = [*PYTEST_OPTIONS, f"--rootdir={checks.parent}", str(checks)]
    pytest.main(options, plugins=[collector, for_checks])
    if replaced := guard.replaced():
        tell({"kind": "replaced", "names": replaced})
    tell({"kind": "finished"})


def _answer(job: Job) -> dict[str, Any]:
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
