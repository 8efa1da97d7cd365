"""Which lines of source read and write the observed state: for the picture, from the syntax of the line.

A lost update is a *write of a value that was read too early*, and often the value does not even change. So
the picture must show reads and writes, not differences only. The syntax of a line tells which attributes and
items it loads and stores; the names of the observed state tell which of them matter. A name that is computed
is looked up in the frame (`self.values[key]` with key = "balance"). This is an aid to reading: no verdict
depends on it.
"""

from __future__ import annotations

import ast
import functools
import linecache
import types
from collections.abc import Iterable, Iterator

#: Marks a plain variable: it counts where it is global or belongs to an outer function.
_VARIABLE = "variable "
READ, WRITE = "reads", "writes"
_READING_METHODS = frozenset({"get", "__getitem__", "__contains__"})
_WRITING_METHODS = frozenset(
    {"pop", "setdefault", "__setitem__", "__delitem__", "append", "add", "remove", "discard"}
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@functools.lru_cache(maxsize=256)
def _accesses_of_file(filename: str) -> dict[int, list[tuple[str, ast.expr | str]]]:
    source = "".join(linecache.getlines(filename))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}
    found: dict[int, list[tuple[str, ast.expr | str]]] = {}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.stmt) and not isinstance(statement, _FUNCTIONS):
            found.setdefault(statement.lineno, []).extend(_accesses(statement))
    return found


def _accesses(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | str]]:
    # `await store.get("balance")` only starts a call; the line that reads is inside of it.
    awaited = [node.value for node in _own_nodes(statement) if isinstance(node, ast.Await)]
    for node in _own_nodes(statement):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, (ast.Attribute, ast.Subscript)):
            yield READ, node.target.attr if isinstance(node.target, ast.Attribute) else node.target.slice
        if isinstance(node, ast.Attribute):
            yield (READ if isinstance(node.ctx, ast.Load) else WRITE), node.attr
        elif isinstance(node, ast.Subscript):
            yield (READ if isinstance(node.ctx, ast.Load) else WRITE), node.slice
        elif isinstance(node, ast.Name):
            yield (READ if isinstance(node.ctx, ast.Load) else WRITE), _VARIABLE + node.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node not in awaited:
            method = node.func.attr
            kind = READ if method in _READING_METHODS else WRITE if method in _WRITING_METHODS else None
            if kind is None:
                continue
            if node.args:
                yield kind, node.args[0]
            if isinstance(node.func.value, (ast.Attribute, ast.Name)):
                owner = node.func.value
                yield kind, owner.attr if isinstance(owner, ast.Attribute) else _VARIABLE + owner.id


def _own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """Walk a statement without the statements inside of it."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, (ast.stmt, ast.ExceptHandler))
        )


def accesses_of_line(frame: types.FrameType, names: Iterable[str]) -> list[tuple[str, str]]:
    """Return ("reads" or "writes", name) for the observed names that the next line touches, reads first."""
    wanted = set(names)
    found = set()
    for kind, target in _accesses_of_file(frame.f_code.co_filename).get(frame.f_lineno, ()):
        name = target if isinstance(target, str) else _constant(target, frame)
        if name is not None and name.startswith(_VARIABLE):
            name = name.removeprefix(_VARIABLE)
            if name in frame.f_code.co_varnames:
                continue  # a local variable that happens to have the name of observed state
        if name in wanted:
            found.add((kind, name))
    return sorted(found)


def _constant(node: ast.expr, frame: types.FrameType) -> str | None:
    value: object = None
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.Name):
        value = frame.f_locals.get(node.id, frame.f_globals.get(node.id))
    return value if isinstance(value, str) else None if value is None else str(value)
