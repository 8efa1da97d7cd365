"""What counts as an answer.

Most answers are code. Some are not: a line, a schedule found by hand, a choice with a reason. Those are
written as fields, `line = 7`, and are read, never run. `hints.toml` names them with their kind:

    [fields]
    line = "line"                        # a line number
    schedule = "schedule"                # steps such as "A2 B3 A"
    choice = ["one lock", "a lock an account"]
    reason = "reason"                    # some words of the learner's own, shown beside the solution's
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

#: The name under which tracebacks, the explorer and warnings show the answer.
FILENAME = "<your answer>"

#: Number of the answer's first line in a cell: editors count `%%exercise NAME` as line 1.
FIRST_LINE = 2

#: Fewest words that count as a reason.
FEWEST_WORDS = 4

#: Each character can be matched in one way only: with an optional space between steps, a wrong schedule of 25
#: letters would keep the expression busy for seconds.
_STEPS = re.compile(r"\s*[A-Za-z][\w.+()]*(?:\s+[A-Za-z][\w.+()]*)*\s*")
_EXPECTED = {
    "line": "a line number, such as 7",
    "schedule": 'steps in quotes, such as "A2 B3 A"',
    "reason": f"a sentence in quotes, of {FEWEST_WORDS} words or more",
}


class AnswerError(Exception):
    """The answer cannot be read.

    Attributes:
        line: Number of the line, as the learner's editor counts; None for the whole answer.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class Namespace:
    """What an answer defines; the fixture `answer` of the checks.

    Reading a name that the answer does not define fails the check with a sentence. Setting a name replaces it
    for the functions of the answer too.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        object.__setattr__(self, "_names", names)

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._names[name]
        except KeyError:
            raise AssertionError(f"Your answer defines no `{name}`.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._names[name] = value


def is_unchanged(stub: str, source: str) -> bool:
    """Say whether an answer differs from the stub in nothing but comments and layout."""
    try:
        return ast.dump(ast.parse(source)) == ast.dump(ast.parse(stub))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source.strip() == stub.strip()


def read_fields(source: str, kinds: Mapping[str, Any], first_line: int = 1) -> dict[str, Any]:
    """Read an answer that is not code.

    Args:
        source: Lines such as `line = 7`; a name that is not asked for is refused.
        kinds: Field name -> kind, or a list of choices.
        first_line: Number of the source's first line, as the learner's editor counts.

    Raises:
        AnswerError: A field is missing, cannot be read or has a value of another kind.
    """
    values: dict[str, Any] = {}
    for number, node in _statements(source, first_line):
        name, value = _assignment(node, number)
        if name not in kinds:
            raise AnswerError(f"There is no field `{name}`. The fields are: {', '.join(kinds)}.", number)
        problem = _problem(kinds[name], value)
        if problem:
            raise AnswerError(f"`{name}` should be {problem}.", number)
        values[name] = value
    for name, kind in kinds.items():
        if name not in values:
            raise AnswerError(f"`{name}` is missing: {_expected(kind)}.")
    return values


def _statements(source: str, first_line: int) -> list[tuple[int, ast.stmt]]:
    """Return the statements of an answer, each with the number of its line."""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        number = (error.lineno or 1) + first_line - 1
        raise AnswerError("This line cannot be read. Write fields such as `line = 7`.", number) from None
    return [(node.lineno + first_line - 1, node) for node in body]


def _assignment(node: ast.stmt, number: int) -> tuple[str, Any]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        try:
            return node.targets[0].id, ast.literal_eval(node.value)
        except ValueError:
            pass
    raise AnswerError("Write a field and its value, such as `line = 7`.", number)


def _problem(kind: Any, value: Any) -> str:
    """Return what was expected, or "" if the value is of its kind."""
    if isinstance(kind, list):
        fits = value in kind
    elif kind == "line":
        fits = type(value) is int and value > 0
    elif kind == "schedule":
        fits = isinstance(value, str) and _STEPS.fullmatch(value) is not None
    else:
        fits = isinstance(value, str) and len(value.split()) >= FEWEST_WORDS
    return "" if fits else _expected(kind)


def _expected(kind: Any) -> str:
    return f"one of {', '.join(map(repr, kind))}" if isinstance(kind, list) else _EXPECTED[kind]
