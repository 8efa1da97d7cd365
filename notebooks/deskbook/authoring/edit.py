"""Edit a notebook as text and bring the text back; neither side is ever overwritten unseen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deskbook.atomic_file import write_atomically
from deskbook.authoring.kernel import CELL_TIMEOUT_S
from deskbook.authoring.notebook_file import read_notebook, write_notebook
from deskbook.authoring.run import executed
from deskbook.authoring.skeleton import lesson_skeleton
from deskbook.authoring.text import (
    TextError,
    base_of,
    from_text,
    is_untouched,
    state_of,
    to_text,
    with_base,
)


class ConflictError(Exception):
    """Text and notebook have both changed."""


def text_path(path: Path) -> Path:
    """Return where the text of a notebook stands: beside it, ignored by git."""
    return path.with_suffix(".myst.md")


def start_edit(path: Path) -> Path:
    """Write the text of a notebook beside it and return its path; a text in work is kept.

    Raises:
        ConflictError: If the text holds changes and the notebook has changed as well.
        TextError: If the notebook cannot be written as text without loss.
    """
    notebook = _read_if_there(path)
    base = state_of(notebook)
    target = text_path(path)
    if target.exists():
        text = target.read_text(encoding="utf-8")
        if base_of(text) == base:
            return target
        if not is_untouched(text):
            raise _conflict(path, notebook)
    write_atomically(target, to_text(notebook or lesson_skeleton(path), base))
    return target


def create(
    path: Path,
    title: str | None = None,
    exercises: Sequence[str] = (),
    on_cell: Callable[[int, int], None] | None = None,
) -> None:
    """Write a new lesson, executed.

    Args:
        path: The file to write, which is not there yet.
        title: Its title; by default the words of its name.
        exercises: Names of the exercises that it leads to; by default those with the number of the lesson.
        on_cell: Called before each code cell with its number, from 1, and the number of code cells.
    """
    skeleton = lesson_skeleton(path, title, exercises)
    write_notebook(path, executed(skeleton, path.resolve().parent, on_cell=on_cell))


def sync(
    path: Path,
    timeout_s: float = CELL_TIMEOUT_S,
    keep_text: bool = False,
    on_cell: Callable[[int, int], None] | None = None,
) -> int:
    """Bring the text back into the notebook, execute every cell, store the outputs.

    The outputs of changed cells would be stale, so all cells run again. If one fails, the notebook stays as
    it was and the text is kept.

    Args:
        path: The notebook.
        timeout_s: Longest time for one cell, in seconds.
        keep_text: Take the text although the notebook has changed; the replaced state is kept beside it.
        on_cell: Called before each code cell with its number, from 1, and the number of code cells.

    Returns:
        The number of cells that the notebook has now.

    Raises:
        ConflictError: If the notebook has changed since the text was made, and `keep_text` is not set.
        CellFailedError: If a cell fails.
        TextError: If there is no text, or it cannot be read.
    """
    source = text_path(path)
    if not source.exists():
        raise TextError(f"There is no {source.name}. Start with `deskbook notebook edit {path}`.")
    text = source.read_text(encoding="utf-8")
    before = _read_if_there(path)
    if base_of(text) != state_of(before):
        if not keep_text:
            raise _conflict(path, before)
        if before is not None:
            _keep_beside(path, before)
    notebook = executed(from_text(text, before), path.resolve().parent, timeout_s, on_cell)
    if state_of(_read_if_there(path)) != state_of(before):  # somebody saved it while the cells ran
        raise _conflict(path, _read_if_there(path))
    write_notebook(path, notebook)
    _refresh_text(source, text, notebook)
    return len(notebook["cells"])


def replaced_path(path: Path, number: int = 1) -> Path:
    """Return where another state of a notebook is kept after a conflict; each gets a number of its own."""
    return path.with_suffix(f".replaced{number}.myst.md")


def _keep_beside(path: Path, notebook: dict[str, Any]) -> Path:
    """Write a state of the notebook beside the text, under a name that holds nothing else."""
    text = to_text(notebook, state_of(notebook))
    for number in itertools.count(1):
        other = replaced_path(path, number)
        if not other.exists():
            write_atomically(other, text)
        if other.read_text(encoding="utf-8") == text:
            return other
    raise AssertionError("unreachable: the numbers do not end")


def _refresh_text(source: Path, text: str, notebook: dict[str, Any]) -> None:
    """Make the text the start of the next edit; what was typed while the cells ran is kept."""
    base = state_of(notebook)
    now = source.read_text(encoding="utf-8")
    write_atomically(source, to_text(notebook, base) if now == text else with_base(now, base))


def _read_if_there(path: Path) -> dict[str, Any] | None:
    return read_notebook(path) if path.exists() else None


def _conflict(path: Path, notebook: dict[str, Any] | None) -> ConflictError:
    """Write the state of the notebook beside the text, and say what to do."""
    other = _keep_beside(path, notebook) if notebook is not None else path
    return ConflictError(
        f"{path.name} has changed since {text_path(path).name} was made; nothing was overwritten. "
        f"The notebook as it is now stands in {other.name}. Copy what you need from there into your text, "
        f"then: deskbook notebook sync --keep-text {path}"
    )
