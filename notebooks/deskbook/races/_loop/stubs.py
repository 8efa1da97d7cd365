"""Stubs that answer at once, in place of calls that take time: they must let others run as a real call does.

A test replaces the payment service by an `AsyncMock`, the network by `httpx.MockTransport`, the database by a
class with a dictionary. None of them ever suspends, so no other request could run there, and a race across
that very call would be proven absent. Inside of the explored region the first two therefore suspend twice,
as the message on its way there and the answer on its way back do. A class of one's own is told apart by
nothing but its name, so `suspends` does the same for it on request, and such an await is named.
"""

from __future__ import annotations

import asyncio
import dis
import functools
import inspect
import re
import sys
import types
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx

from deskbook.races import _frames as frames
from deskbook.races._loop.virtual import VirtualLoop

Stub = TypeVar("Stub")

_STUB_NAME = re.compile(r"fake|stub|mock|dummy|in_?memory", re.IGNORECASE)


class _Answer:
    """What stands in a timeline while a stub is asked."""

    label: str = "a stub answers"
    place: object = "a stub"


async def _as_a_real_call(call: Callable[[], Awaitable[Any]]) -> Any:
    await asyncio.sleep(0)
    answer = await call()
    await asyncio.sleep(0)
    return answer


frames.stands_for_user_code(_as_a_real_call, lambda frame: _Answer())


def suspends(stub: Stub) -> Stub:
    """Make a stub let other requests run while it is asked, as the real thing would.

    Args:
        stub: An object whose coroutine methods stand for calls that take time, or such a function.

    Returns:
        The same object, whose coroutine methods now suspend; or a function that does.

    Example:
        app.dependency_overrides[repository] = lambda: suspends(FakeRepository())
    """
    if inspect.iscoroutinefunction(stub):
        return _suspending(stub)  # type: ignore[return-value]
    for name in dir(type(stub)):
        if not name.startswith("__") and inspect.iscoroutinefunction(getattr(type(stub), name, None)):
            setattr(stub, name, _suspending(getattr(stub, name)))
    return stub


def _suspending(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(function)
    async def asked(*args: Any, **options: Any) -> Any:
        return await _as_a_real_call(lambda: function(*args, **options))

    return asked


def _is_explored() -> bool:
    loop = asyncio._get_running_loop()
    return isinstance(loop, VirtualLoop) and loop.exploring


class SuspendingStubs:
    """While entered, the stubs that everybody uses suspend in code that is explored."""

    def __enter__(self) -> SuspendingStubs:
        self._saved: list[tuple[type, str, Any]] = []
        self._replace(httpx.MockTransport, "handle_async_request")
        mock = sys.modules.get("unittest.mock")
        if mock is not None:
            self._replace(mock.AsyncMockMixin, "_execute_mock_call")
        return self

    def __exit__(self, *exc_info: object) -> None:
        for owner, name, original in self._saved:
            setattr(owner, name, original)

    def _replace(self, owner: type, name: str) -> None:
        original = owner.__dict__[name]

        async def asked(*args: Any, **options: Any) -> Any:
            if not _is_explored():
                return await original(*args, **options)
            return await _as_a_real_call(lambda: original(*args, **options))

        self._saved.append((owner, name, original))
        setattr(owner, name, asked)


class UnsuspendedAwaits:
    """Looks for awaits of the service that never let anybody else run.

    Only those of a coroutine that cannot suspend count, since there is no await in it: a stub, most likely.

    Attributes:
        places: The source lines of the awaits.
        is_of_a_stub: Whether one of them asks an object that calls itself a stub.
    """

    def __init__(self) -> None:
        self.places: set[str] = set()
        self.is_of_a_stub = False

    def __enter__(self) -> UnsuspendedAwaits:
        self._before = sys.getprofile()
        if self._before is None:
            sys.setprofile(self._watch)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._before is None:
            sys.setprofile(None)

    def _watch(self, frame: types.FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_flags & inspect.CO_COROUTINE or not _cannot_suspend(code):
            return
        if code.co_name.startswith("__"):
            return  # the two ends of an `async with` often need not wait
        caller = frame.f_back
        if (
            caller is not None
            and caller.f_code.co_flags & inspect.CO_COROUTINE
            and frames.is_shown(caller.f_code.co_filename)
            and frames.kind_of_frame(frame) == frames.USER
        ):
            self.places.add(frames.source_line(caller.f_code, caller.f_lineno))
            owner = type(frame.f_locals.get("self", None)).__name__
            self.is_of_a_stub |= bool(_STUB_NAME.search(owner) or _STUB_NAME.search(frames.module_of(frame)))


@functools.lru_cache(maxsize=4096)
def _cannot_suspend(code: types.CodeType) -> bool:
    return all(instruction.opname != "SEND" for instruction in dis.get_instructions(code))
