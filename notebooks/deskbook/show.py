"""Show code from the file where it lives, so that a lesson never holds a second copy of it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

from deskbook.checkout import root


class Source:
    """Code with the name of its file: highlighted in a notebook, plain text elsewhere."""

    def __init__(self, path: str, code: str) -> None:
        self._path = path
        self._code = code

    def __repr__(self) -> str:
        return f"# {self._path}\n{self._code}"

    def _repr_markdown_(self) -> str:
        return f"`{self._path}`\n```python\n{self._code}```"


def show_source(target: Any, *, without_docstring: bool = False) -> Source:
    """Show a function, class, method or module.

    Args:
        target: The object whose source is shown.
        without_docstring: Leave out the docstring of a function or class, where the lesson says the same.

    Raises:
        TypeError: The object has no source file, such as a builtin.
    """
    target = inspect.unwrap(target) if callable(target) else target
    path = Path(inspect.getsourcefile(target) or "").resolve()
    code = textwrap.dedent(inspect.getsource(target))
    if without_docstring and target.__doc__:
        code = _drop_docstring(code)
    return Source(path.relative_to(root()).as_posix(), code)


def _drop_docstring(code: str) -> str:
    definition = ast.parse(code).body[0]
    docstring = definition.body[0]  # type: ignore[attr-defined]
    lines = code.splitlines(keepends=True)
    return "".join(lines[: docstring.lineno - 1] + lines[docstring.end_lineno :])
