"""What an exercise is: one folder, read without running anything in it.

exercise.ipynb   the task; the cell that starts with `%%exercise NAME` holds the stub
checks.py        tests; the docstring of each is the sentence the learner reads
solution.py      its docstring says why; the rest is the answer
hints.toml       minutes, what the stub fails, what comes next, three hints for each check
also_right/      other answers that must pass
wrong/           answers that must be rejected, each by the check in its first line
"""

from __future__ import annotations

import ast
import functools
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deskbook.checkout import exercises_folder
from deskbook.practice.errors import PracticeError

#: Time that an answer gets, in seconds; `limit_s` in hints.toml asks for more.
DEFAULT_LIMIT_S = 2.5


@dataclass(frozen=True)
class Check:
    """One test of `checks.py`.

    Attributes:
        name: Name of the test function.
        sentence: Its docstring in one line: what must be true.
    """

    name: str
    sentence: str


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        name: Name of its folder.
        folder: The folder itself.
        title: First heading of its page.
        stub: Text of the answer cell, without its first line.
        checks: What is checked, in order.
        minutes: Honest time, in minutes.
        limit_s: Time that an answer gets, in seconds.
        needs: Services that the checks use: "postgres".
        fields: For an answer that is not code: field name -> kind; empty for code.
        stub_fails: Name of the check that the stub fails.
        next: What to do after a pass.
        hints: Check name -> hints on three levels.
    """

    name: str
    folder: Path
    title: str
    stub: str
    checks: tuple[Check, ...]
    minutes: int
    stub_fails: str
    next: str
    limit_s: float = DEFAULT_LIMIT_S
    needs: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def sentence(self, check: str) -> str:
        """Return the sentence of a check by its name."""
        return next((each.sentence for each in self.checks if each.name == check), check)

    @functools.cached_property
    def solution(self) -> str:
        """The solution without its docstring."""
        return split_docstring(_read(self.folder / "solution.py"))[1]

    @functools.cached_property
    def why(self) -> str:
        """The reasoning behind the solution, one line a paragraph."""
        text = split_docstring(_read(self.folder / "solution.py"))[0]
        return "\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def names(folder: Path | None = None) -> list[str]:
    """Return the names of the exercises, in the order of the course."""
    folder = folder or exercises_folder()
    return sorted(path.parent.name for path in folder.glob("*/checks.py"))


def load(name: str, folder: Path | None = None) -> Exercise:
    """Read an exercise.

    Args:
        name: Name of its folder.
        folder: Folder of all exercises; by default `exercises/` of the checkout.

    Raises:
        PracticeError: There is no such exercise, or its folder is not complete.
    """
    folder = folder or exercises_folder()
    known = names(folder)
    if name not in known:
        near = [each for each in known if name and (name in each or each.split("_")[0] == name.split("_")[0])]
        raise PracticeError(
            f"There is no exercise {name!r}. The exercises are: {', '.join(near or known) or 'none yet'}."
        )
    return read(folder / name)


def read(folder: Path) -> Exercise:
    """Read the exercise in a folder.

    Raises:
        PracticeError: A file is missing or cannot be read.
    """
    facts = _toml(folder / "hints.toml")
    title, stub = _page(folder / "exercise.ipynb", folder.name)
    try:
        return Exercise(
            name=folder.name,
            folder=folder,
            title=title,
            stub=stub,
            checks=read_checks(folder / "checks.py"),
            minutes=int(facts["minutes"]),
            stub_fails=str(facts["stub_fails"]),
            next=str(facts["next"]),
            limit_s=float(facts.get("limit_s", DEFAULT_LIMIT_S)),
            needs=tuple(facts.get("needs", ())),
            fields=dict(facts.get("fields", {})),
            hints={check: tuple(levels) for check, levels in facts.get("hints", {}).items()},
        )
    except KeyError as error:
        raise PracticeError(f"{folder.name}/hints.toml lacks {error}.") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise PracticeError(f"{folder.name}/hints.toml: {error}.") from None


def read_checks(path: Path) -> tuple[Check, ...]:
    """Return the tests of a file with their docstrings, without importing it."""
    try:
        tree = ast.parse(_read(path))
    except SyntaxError as error:
        raise PracticeError(f"{path.parent.name}/checks.py, line {error.lineno}: {error.msg}.") from None
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return tuple(
        Check(node.name, " ".join((ast.get_docstring(node) or "").split()))
        for node in functions
        if node.name.startswith("test_")
    )


def split_docstring(source: str) -> tuple[str, str]:
    """Return the docstring of a module and the rest of its text."""
    tree = ast.parse(source)
    text = ast.get_docstring(tree)
    if text is None:
        return "", source
    lines = source.splitlines(keepends=True)
    return text, "".join(lines[tree.body[0].end_lineno :]).lstrip("\n")


def _page(path: Path, name: str) -> tuple[str, str]:
    """Return the title and the stub of an exercise's page."""
    try:
        cells = json.loads(_read(path))["cells"]
    except (ValueError, KeyError, TypeError):
        raise PracticeError(f"{name}/exercise.ipynb is not a notebook.") from None
    title, stub = "", None
    for cell in cells:
        text = "".join(cell["source"])
        first, _, rest = text.partition("\n")
        if cell["cell_type"] == "markdown" and first.startswith("# ") and not title:
            title = first.removeprefix("# ").strip()
        if cell["cell_type"] == "code" and first.split() == ["%%exercise", name] and stub is None:
            stub = rest
    if stub is None:
        raise PracticeError(f"{name}/exercise.ipynb has no cell that starts with `%%exercise {name}`.")
    return title, stub.rstrip("\n") + "\n"


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError as error:
        raise PracticeError(f"{path.parent.name}/hints.toml: {error}.") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PracticeError(f"The exercise {path.parent.name} has no {path.name}.") from None
