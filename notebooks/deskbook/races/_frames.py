"""Where does a suspended task stand, and may another request run there?

A task that waits is a chain of frames: the outermost coroutine awaits the next one, and so on down to a
future. The explorer asks one question of that chain: is the innermost frame that matters *the user's*? Then
the suspension is a scheduling point. The frames are of three kinds:

* `TRANSPARENT`: the standard library, anyio. They act for their caller, so the question goes to the caller.
* `PLUMBING`: starlette, fastapi, httpx, opentelemetry, and this package. They only carry a request to the
  user's code; a suspension there is a scheduling point only where user code ran since the last one (see
  `loop`).
* `USER`: everything else: the service, its libraries, notebook cells, code made by `exec`.

Rule: what is not recognised counts as the user's. A missed scheduling point is a false proof, one too many
only costs time. The idea of making only visible operations scheduling points is from CHESS (Musuvathi et al.,
"Finding and Reproducing Heisenbugs in Concurrent Programs", OSDI 2008).
"""

from __future__ import annotations

import asyncio
import gc
import linecache
import os
import sysconfig
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

TRANSPARENT, PLUMBING, USER = 0, 1, 2

_OWN = str(Path(__file__).parent) + os.sep
_STDLIB = tuple({sysconfig.get_paths()[key] + os.sep for key in ("stdlib", "platstdlib")})
_SITES = tuple({sysconfig.get_paths()[key] + os.sep for key in ("purelib", "platlib")})
_PLUMBING_PACKAGES = frozenset({"starlette", "fastapi", "httpx", "httpcore", "opentelemetry"})
_TRANSPARENT_PACKAGES = frozenset({"anyio", "sniffio", "exceptiongroup"})

#: What `position` says of a task that does not stand in user code.
NO_PLACE = "start"

_kinds: dict[str, int] = {}


class StandIn(Protocol):
    """What a coroutine of the explorer drives in place of the user's code, such as a thread.

    Attributes:
        label: The source line that runs next.
        place: Where that is; equal again at the same place.
    """

    label: str
    place: object


#: Code of the explorer's own coroutines that stand for user code -> how to find what they drive.
_stand_ins: dict[types.CodeType, Callable[[types.FrameType], StandIn]] = {}

#: The function of the explorer's loop in which every explored step runs.
_floor: types.CodeType | None = None

_ASYNC_GENERATOR_STEPS = (
    "async_generator_asend",
    "async_generator_athrow",
    "anext_awaitable",
    "coroutine_wrapper",
)


def stands_for_user_code(
    coroutine_function: Callable[..., Any], find: Callable[[types.FrameType], StandIn]
) -> None:
    """Say that a coroutine of the explorer is to be taken for user code, with all of its file.

    It is registered by its code object, so it may be moved and renamed freely.

    Args:
        coroutine_function: The coroutine function.
        find: Returns what a frame of it drives.
    """
    code = coroutine_function.__code__
    _stand_ins[code] = find
    _kinds[code.co_filename] = USER


def set_floor(function: Callable[..., Any]) -> None:
    """Say in which function every explored step runs: who walks up a stack stops there.

    Below it stands whoever called the explorer, a test or a cell, and that is no user code of the service.
    """
    global _floor
    _floor = function.__code__


def floor() -> types.CodeType | None:
    """Return the code of the function that `set_floor` was given."""
    return _floor


def kind_of_file(filename: str) -> int:
    """Return TRANSPARENT, PLUMBING or USER for a source file name."""
    kind = _kinds.get(filename)
    if kind is None:
        kind = _kinds[filename] = _classify(filename)
    return kind


def kind_of_frame(frame: types.FrameType) -> int:
    """Return the kind of a frame; code without a file (a dataclass's `__init__`) is of its module's kind."""
    filename = frame.f_code.co_filename
    if filename.startswith("<") and not filename.startswith("<frozen "):
        module_file = frame.f_globals.get("__file__")
        return kind_of_file(module_file) if isinstance(module_file, str) else USER
    return kind_of_file(filename)


def _classify(filename: str) -> int:
    if filename.startswith(_OWN):
        return PLUMBING
    for site in _SITES:
        if filename.startswith(site):
            package = Path(filename[len(site) :]).parts[0].removesuffix(".py")
            if package in _PLUMBING_PACKAGES:
                return PLUMBING
            return TRANSPARENT if package in _TRANSPARENT_PACKAGES else USER
    if "site-packages" in filename or "dist-packages" in filename:
        return USER
    if filename.startswith((*_STDLIB, "<frozen ")):
        return TRANSPARENT
    return USER


def is_shown(filename: str) -> bool:
    """Tell whether lines of a file belong into a picture: the service's own code, not its libraries."""
    return (
        kind_of_file(filename) == USER
        and not filename.startswith(_OWN)
        and "site-packages" not in filename
        and "dist-packages" not in filename
    )


def await_chain(awaitable: Any) -> list[types.FrameType | None]:
    """Return the frames of a suspended coroutine, outermost first.

    `None` stands for a part of the chain that cannot be looked into. The objects that drive an async
    generator (`asend()` and its kin) do not name their generator; `gc.get_referents` does.
    """
    frames: list[types.FrameType | None] = []
    current = awaitable
    while current is not None:
        if isinstance(current, types.CoroutineType):
            frame, current = current.cr_frame, current.cr_await
        elif isinstance(current, types.GeneratorType):
            frame, current = current.gi_frame, current.gi_yieldfrom
        elif isinstance(current, types.AsyncGeneratorType):
            frame, current = current.ag_frame, current.ag_await
        elif type(current).__name__ in _ASYNC_GENERATOR_STEPS:
            current = _driven_by(current)
            if current is None:
                frames.append(None)
            continue
        elif isinstance(current, asyncio.Future) or type(current).__name__ == "FutureIter":
            break
        else:
            frames.append(None)
            break
        if frame is not None:
            frames.append(frame)
    return frames


def _driven_by(step: Any) -> Any:
    """Return the async generator, coroutine or inner step that an `asend()`-like object drives."""
    for referent in gc.get_referents(step):
        if isinstance(referent, (types.AsyncGeneratorType, types.CoroutineType, types.GeneratorType)):
            return referent
        if type(referent).__name__ in _ASYNC_GENERATOR_STEPS:
            return referent
    return None


def stands_in_user_code(task: asyncio.Task[Any], anchors: dict[Any, Any]) -> bool:
    """Tell whether a task that is ready to run stands where the user's code decides what happens next.

    The fast way for chains of coroutines and generators; `await_chain` knows the rest. It asks for code, not
    for frames: a frame object is made when it is asked for, and that costs more than the rest of the walk.

    Args:
        task: The task.
        anchors: Task -> the coroutine that decided last time; kept by the caller for one run. As long as that
            one is suspended it is still awaited by the same chain, since a coroutine that awaits can only go
            on once the awaited one has ended. So the walk may begin there instead of twenty frames above.
    """
    current: Any = anchors.get(task)
    if current is None or not current.cr_suspended:
        current = task.get_coro()
    anchor, decisive = None, TRANSPARENT
    # One pass from the outside in: the innermost link that is not transparent wins.
    while current is not None:
        kind_of_link = type(current)
        if kind_of_link is types.CoroutineType:
            code, link, current = current.cr_code, current, current.cr_await
        elif kind_of_link is types.GeneratorType:
            code, link, current = current.gi_code, None, current.gi_yieldfrom
        elif kind_of_link is _FUTURE_ITER:
            break
        else:
            return _innermost_kind(task) != PLUMBING
        kind = _kinds.get(code.co_filename)
        if kind is None:
            kind = kind_of_file(code.co_filename)
        if kind:
            decisive, anchor = kind, link or anchor
    if anchor is not None:
        anchors[task] = anchor
    return decisive != PLUMBING


def _innermost_kind(task: asyncio.Task[Any]) -> int:
    for frame in reversed(await_chain(task.get_coro())):
        if frame is None:
            return USER
        kind = kind_of_file(frame.f_code.co_filename)
        if kind != TRANSPARENT:
            return kind
    return USER  # a task of library code alone, such as create_task(queue.get()): not known, so it counts


def kind_of_callback(callback: Any) -> int:
    """Return the kind of a plain loop callback; one that cannot be looked into is the user's."""
    while isinstance(callback, partial):
        callback = callback.func
    function = getattr(callback, "__func__", callback)
    code = getattr(function, "__code__", None)
    if code is not None:
        return kind_of_file(code.co_filename)
    if function is asyncio.futures._set_result_unless_cancelled:  # type: ignore[attr-defined]
        return TRANSPARENT
    return USER


def user_frames_on_stack(frame: types.FrameType | None) -> bool:
    """Tell whether user code is among the callers of `frame` (which is not counted itself)."""
    kinds, floor_code = _kinds, _floor
    while frame is not None:
        code = frame.f_code
        if code is floor_code:
            return False
        kind = kinds.get(code.co_filename)
        if kind is None:
            kind = kind_of_file(code.co_filename)
        if kind == USER:
            return True
        frame = frame.f_back
    return False


def source_line(code: types.CodeType, line: int) -> str:
    """Return a label that is the same on every machine: `function: source text of the line`."""
    text = linecache.getline(code.co_filename, line).strip()
    name = code.co_name
    return f"{name}: {text}" if text else f"{name}: line {line}"


def module_of(frame: types.FrameType) -> str:
    """Return the module name of a frame, or the bare file name where it has none."""
    name = frame.f_globals.get("__name__")
    return str(name) if name else Path(frame.f_code.co_filename).stem


def position(task: asyncio.Task[Any]) -> str:
    """Return the label of the innermost user frame of a suspended task."""
    for frame in reversed(await_chain(task.get_coro())):
        if frame is not None and kind_of_file(frame.f_code.co_filename) == USER:
            stand_in = stand_in_of(frame)
            return source_line(frame.f_code, frame.f_lineno) if stand_in is None else stand_in.label
    return NO_PLACE


def stand_in_of(frame: types.FrameType) -> StandIn | None:
    """Return what a frame drives in place of user code, or None if it is itself what it seems."""
    find = _stand_ins.get(frame.f_code)
    return None if find is None else find(frame)


async def _await_a_future() -> None:
    await asyncio.Future(loop=_NoLoop())  # type: ignore[arg-type]


class _NoLoop:
    """Enough of a loop to hold one future, to learn the private type that awaits it."""

    def get_debug(self) -> bool:
        return False


def _future_iterator_type() -> type:
    coroutine: Any = _await_a_future()
    try:
        coroutine.send(None)
        return type(coroutine.cr_await)
    finally:
        coroutine.close()


_FUTURE_ITER = _future_iterator_type()
