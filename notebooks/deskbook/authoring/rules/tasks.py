"""Asynchronous code can fail without anybody noticing; these rules look at the code and at what it left."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deskbook.authoring.document import Cell, Document
from deskbook.authoring.rules.registry import Problem, rule

#: Text on stderr that means that something failed outside of the cell's own code.
FAILURE_TEXTS = (
    "Traceback (most recent call last)",
    "exception was never retrieved",
    "Task was destroyed but it is pending",
    "was never awaited",
)

_CATCH_ALL = {"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup"}


@rule(
    "hook-not-loaded",
    reason="Without the hook a learner's kernel stays silent when a task fails or is left pending.",
    fix="Start the first code cell with `%load_ext deskbook`.",
)
def hook_not_loaded(document: Document) -> Iterator[Problem]:
    """Report notebooks whose first code cell does not load the extension."""
    first = next(iter(document.code_cells), None)
    if first is not None and "%load_ext deskbook" not in first.source.splitlines():
        yield first, "the first code cell does not load the extension"


@rule(
    "dropped-task",
    reason="Python holds tasks weakly: one that nobody refers to may vanish, and its failure with it.",
    fix="Use `asyncio.TaskGroup`, or keep the task in a variable and await it in the same cell.",
)
def dropped_task(document: Document) -> Iterator[Problem]:
    """Report tasks whose handle is thrown away."""
    for cell in document.code_cells:
        for node in cell.walk():
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _starts_task(node.value):
                yield cell, f"line {node.lineno} starts a task and keeps no reference to it"


def _starts_task(call: ast.Call) -> bool:
    """Say whether the call starts a task outside of a task group."""
    function = call.func
    if isinstance(function, ast.Name):
        return function.id in {"create_task", "ensure_future"}
    if not isinstance(function, ast.Attribute) or function.attr not in {"create_task", "ensure_future"}:
        return False
    owner = function.value
    if isinstance(owner, ast.Call):  # asyncio.get_running_loop().create_task(...)
        return True
    return isinstance(owner, ast.Name) and (owner.id == "asyncio" or owner.id.endswith("loop"))


@rule(
    "unstarred-except",
    reason="A TaskGroup raises an exception group; `except` takes it as one thing and hides what is inside.",
    fix="Catch with `except*` and print or count what was caught.",
)
def unstarred_except(document: Document) -> Iterator[Problem]:
    """Report a TaskGroup inside a plain `try ... except` that catches everything."""
    for cell in document.code_cells:
        for node in cell.walk():
            if isinstance(node, ast.Try) and _holds_task_group(node.body):
                for handler in node.handlers:
                    if _catches_all(handler):
                        yield cell, f"line {handler.lineno} catches the failure of a TaskGroup without a star"


def _holds_task_group(body: list[ast.stmt]) -> bool:
    managers = (node for stmt in body for node in ast.walk(stmt) if isinstance(node, ast.AsyncWith))
    return any("TaskGroup" in ast.unparse(item.context_expr) for node in managers for item in node.items)


def _catches_all(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return bool(names & _CATCH_ALL)


@rule(
    "uncaught-group",
    reason="Without the hook IPython prints an exception group to stderr only, and the cell may hang.",
    fix="Catch it with `except*` and print what was caught.",
)
def uncaught_group(document: Document) -> Iterator[Problem]:
    """Report stored exception groups."""
    for cell in document.code_cells:
        for error in cell.errors:
            if error["ename"].endswith("ExceptionGroup"):
                yield cell, f"the cell ends with {error['ename']}"


@rule(
    "failure-on-stderr",
    reason="A traceback on stderr is a failure that did not stop the cell: a thread, a task, a destructor.",
    fix="Await the task or join the thread, catch the error and print what the reader shall see.",
)
def failure_on_stderr(document: Document) -> Iterator[Problem]:
    """Report stored stderr that tells of a failure."""
    for cell in document.code_cells:
        for where, text in cell.texts():
            found = [sign for sign in FAILURE_TEXTS if sign in text]
            if where == "stderr" and found:
                yield cell, f"stderr says {found[0]!r}"


@rule(
    "swallowed-app-error",
    reason="With `raise_app_exceptions=False` a failing background task leaves a 200 and no trace.",
    fix="Use `deskbook.desk.running_app()`, or leave the option at its default.",
)
def swallowed_app_error(document: Document) -> Iterator[Problem]:
    """Report test clients that swallow the exceptions of the app."""
    for cell in document.code_cells:
        if any(_swallows(node) for node in cell.walk()):
            yield cell, "the client swallows exceptions of the app"


def _swallows(node: ast.AST) -> bool:
    if not isinstance(node, ast.keyword) or node.arg not in {
        "raise_app_exceptions",
        "raise_server_exceptions",
    }:
        return False
    return not (isinstance(node.value, ast.Constant) and node.value.value is True)


@rule(
    "broken-code",
    reason="Rules can only look at code that Python can read.",
    fix="Repair the syntax; a cell in another language starts with its cell magic.",
)
def broken_code(document: Document) -> Iterator[Problem]:
    """Report cells that Python cannot parse, unless they show a SyntaxError on purpose."""
    for cell in document.code_cells:
        if cell.tree is None and not _shows_syntax_error(cell):
            yield cell, "Python cannot parse the cell"


def _shows_syntax_error(cell: Cell) -> bool:
    return any(error["ename"] in {"SyntaxError", "IndentationError"} for error in cell.errors)
