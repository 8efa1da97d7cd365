"""What a cell can leave behind, in words: where a task was created, and the errors that report it.

The text of an error (`evalue`) is compared by nbval, so it holds no address, task number, cell number or
path. The details for the person who looks for the cause are in the traceback, which is not compared.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

#: Packages whose tasks keep a kernel running; none of them is started by a lesson.
INFRASTRUCTURE = ("IPython", "ipykernel", "jupyter_client", "tornado", "zmq", "comm", "debugpy", "traitlets")

_numbers = itertools.count()
_asyncio_folder = str(Path(asyncio.__file__).parent)
_own_folder = str(Path(__file__).parent)


@dataclass(frozen=True)
class CreationSite:
    """Where a task was created.

    Attributes:
        place: In words, without a path: "line 3 of this cell".
        frame: The nearest frame outside asyncio, as a traceback writes it.
        owner: Who ends the task, if it was created inside `long_lived()`.
        number: Order of creation in this process.
    """

    place: str
    frame: str
    owner: str | None
    number: int


class LeftBehindError(RuntimeError):
    """A cell ended while work it had started was not accounted for."""

    details: tuple[str, ...] = ()

    def _render_traceback_(self) -> list[str]:
        """Tell IPython what to show: the stack would only show the kernel."""
        return [f"{type(self).__name__}: {self}", *self.details]


class PendingTaskError(LeftBehindError):
    """Tasks were still running when their cell ended.

    Args:
        tasks: Each task with the place that created it, in the order of creation.
    """

    def __init__(self, tasks: list[tuple[asyncio.Task[Any], CreationSite | None]]) -> None:
        count = "1 task was" if len(tasks) == 1 else f"{len(tasks)} tasks were"
        names = "; ".join(describe_task(task, site) for task, site in tasks)
        super().__init__(
            f"{count} still running when this cell ended: {names}. "
            "Await it in this cell, start it in an asyncio.TaskGroup, or cancel it and then await it."
        )
        self.details = tuple(f"  created at {site.frame}" for _, site in tasks if site)


class LostFailureError(LeftBehindError):
    """Something failed in the background and nobody looked at the failure.

    Args:
        failures: Descriptions from `describe_failure`; the first line goes into the message.
    """

    def __init__(self, failures: list[str]) -> None:
        first_lines = [failure.splitlines()[0] for failure in failures]
        super().__init__(
            f"A failure was lost: {'; '.join(first_lines)}. "
            "Await the task (or join the thread) in this cell, so that its exception reaches you."
        )
        self.details = tuple("\n".join(failure.splitlines()[1:]) for failure in failures)


def describe_failure(error: BaseException, where: str) -> str:
    """Return one line for the message and below it the traceback."""
    detail = "".join(traceback.format_exception(error)).rstrip()
    message = (str(error).splitlines() or [""])[0]
    raised = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{where} raised {raised}\n{detail}"


def describe_task(task: asyncio.Task[Any], site: CreationSite | None) -> str:
    """Name the coroutine of a task and where the task was created."""
    coro = task.get_coro()
    name = getattr(coro, "__qualname__", None) or type(coro).__name__
    return f"{name}() created {site.place}" if site else f"{name}()"


def is_infrastructure(task: asyncio.Task[Any]) -> bool:
    """Say whether the task belongs to the kernel rather than to the lesson."""
    coro = task.get_coro()
    code = getattr(coro, "cr_code", None) or getattr(coro, "gi_code", None)
    return isinstance(code, CodeType) and code.co_filename.startswith(_infrastructure_folders())


def is_infrastructure_frame(frame: FrameType) -> bool:
    """Say whether a frame of a traceback belongs to the kernel."""
    return frame.f_code.co_filename.startswith(_infrastructure_folders())


def _infrastructure_folders() -> tuple[str, ...]:
    """Return the folders of the kernel's own packages, as far as they are imported."""
    modules = [sys.modules.get(name) for name in INFRASTRUCTURE]
    return tuple(str(Path(module.__file__).parent) for module in modules if module and module.__file__)


def find_creation_site(shell: Any, owner: str | None) -> CreationSite:
    """Walk up from the caller to the lesson's line that created a task.

    Args:
        shell: The IPython shell, which knows the file names of its cells.
        owner: Who ends the task, if anybody said so.
    """
    cells = getattr(shell.compile, "_filename_map", {})
    nearest: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith((_asyncio_folder, _own_folder)):
            nearest = nearest or frame
            if filename in cells:
                return CreationSite(_place_in_cell(frame), _frame_line(nearest), owner, next(_numbers))
        frame = frame.f_back
    if nearest is None:
        return CreationSite("outside of any cell", "an unknown place", owner, next(_numbers))
    place = f"in {nearest.f_code.co_qualname}()"
    return CreationSite(place, _frame_line(nearest), owner, next(_numbers))


def _place_in_cell(frame: FrameType) -> str:
    """Say where a frame of a cell stands, by line and function."""
    if frame.f_code.co_name == "<module>":
        return f"at line {frame.f_lineno} of this cell"
    return f"in {frame.f_code.co_qualname}(), line {frame.f_lineno} of its cell"


def _frame_line(frame: FrameType) -> str:
    return f'File "{frame.f_code.co_filename}", line {frame.f_lineno}'


def with_cell_names(shell: Any, text: str) -> str:
    """Write `Cell In[3]` where a traceback names the temporary file of a cell."""
    for filename, number in getattr(shell.compile, "_filename_map", {}).items():
        text = text.replace(f'File "{filename}"', f"Cell In[{number}]")
    return text
