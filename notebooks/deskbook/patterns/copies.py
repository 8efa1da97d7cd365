"""Find the copies of patterns in a project, and say which of them are older than a repair."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from deskbook.patterns.catalogue import PatternError, catalogue
from deskbook.patterns.history import Repair, history, in_force, statements_of

#: A file is a copy if this share of the statements of a pattern is in it, as it is or as it once was.
MIN_SHARE = 0.5
MAX_SIZE_BYTES = 1_000_000
_NOT_THE_PROJECTS = {"site-packages", "node_modules", "__pycache__"}


@dataclasses.dataclass(frozen=True)
class Copy:
    """A copy of a pattern in somebody's project.

    Attributes:
        path: The file.
        pattern: The name of the pattern.
        missing: Repairs that it does not have, the first ones first.
    """

    path: Path
    pattern: str
    missing: tuple[Repair, ...]


def python_files(folder: Path) -> list[Path]:
    """Return the Python files of a project, without its environments and hidden folders.

    Raises:
        PatternError: There is no such folder.
    """
    if not folder.is_dir():
        raise PatternError(f"There is no folder {folder}. Name the folder of your service.")
    return sorted(_walk(folder))


def copies(files: Iterable[Path]) -> Iterator[Copy]:
    """Yield the copies among some files; what cannot be read as Python is none."""
    patterns = catalogue()
    repairs: dict[str, list[Repair]] = {it.name: [] for it in patterns}
    for repair in history(patterns[0].path.parent):
        repairs[repair.pattern].append(repair)
    versions = {it.name: _versions(it.source, tuple(repairs[it.name])) for it in patterns}
    for path in files:
        statements = _read(path)
        for name, known in versions.items():
            if any(_share(version, statements) >= MIN_SHARE for version in known):
                missing = (it for it in in_force(repairs[name]) if it.is_missing_in(statements))
                yield Copy(path, name, tuple(missing))


@functools.cache
def _versions(source: str, repairs: tuple[Repair, ...]) -> list[frozenset[str]]:
    """Return what a pattern consists of, now and before each of its repairs."""
    versions = [statements_of(source)]
    for repair in reversed(repairs):
        versions.append((versions[-1] - repair.new) | repair.gone)
    return versions


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        if "pyvenv.cfg" in files and Path(parent) != folder:
            folders.clear()
            continue
        folders[:] = [it for it in folders if not it.startswith(".") and it not in _NOT_THE_PROJECTS]
        yield from (Path(parent, it) for it in files if it.endswith(".py"))


def _read(path: Path) -> frozenset[str]:
    try:
        if path.stat().st_size > MAX_SIZE_BYTES:
            return frozenset()
        return statements_of(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()


def _share(version: frozenset[str], statements: frozenset[str]) -> float:
    return len(version & statements) / len(version)
