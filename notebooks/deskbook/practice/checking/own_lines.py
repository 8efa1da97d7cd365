"""From an exception to the learner's own lines: where in the answer it happened, and what it says."""

from __future__ import annotations

import inspect
import linecache
import re
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from deskbook.practice.checking.evidence import shown
from deskbook.practice.checking.protocol import Problem
from deskbook.practice.exercise.answers import FILENAME

_PATH = re.compile(r"(?<![\w.])/(?:[\w.@+-]+/)+([\w.@+-]+)")


def remember_source(source: str) -> None:
    """Let tracebacks and `inspect` find the text of the answer."""
    linecache.cache[FILENAME] = (len(source), None, source.splitlines(keepends=True), FILENAME)


def own_lines(error: BaseException) -> list[tuple[int, str]]:
    """Return (number, text) of the lines of the answer that the exception went through, outermost first."""
    if isinstance(error, SyntaxError) and error.filename == FILENAME and error.lineno:
        return [(error.lineno, (error.text or "").strip())]
    frames = traceback.extract_tb(error.__traceback__)
    return [(each.lineno or 0, each.line or "") for each in frames if each.filename == FILENAME]


def origin(error: BaseException) -> BaseException:
    """Return the exception that belongs to the answer: inside a group, or behind the one that was raised."""
    if isinstance(error, BaseExceptionGroup):
        parts = [origin(part) for part in error.exceptions]
        return next((part for part in parts if own_lines(part)), parts[0])
    if not own_lines(error) and error.__cause__ is not None:
        return origin(error.__cause__)
    return error


def describe(error: BaseException) -> Problem:
    """Return an exception as plain data."""
    error = origin(error)
    if isinstance(error, SyntaxError):
        text = f"{type(error).__name__}: {error.msg}"
    else:
        said = shown(str(error))
        text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return {"message": _PATH.sub(r"\1", text), "lines": own_lines(error)}


def forgotten_await(error: BaseException) -> str:
    """Return a sentence if the exception met a coroutine that was made and never awaited, else "".

    The exception itself is often one of a library that could not use the coroutine, such as an encoder.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in _with_items(frame.f_locals.values()):
            if inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
                return f"`{value.__name__}` was called, but nobody awaits what it returned."
    return ""


def _with_items(values: Iterable[Any]) -> Iterator[Any]:
    for value in list(values):
        yield value
        if isinstance(value, dict | list | tuple | set):
            yield from list(value.values() if isinstance(value, dict) else value)
