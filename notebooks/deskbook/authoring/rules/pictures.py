"""What a drawing claims by its form."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deskbook.authoring.document import Cell, Document
from deskbook.authoring.rules.registry import Problem, rule

#: Functions of matplotlib that draw bars -> the axis along which a bar has its length.
_BARS = {"bar": "y", "barh": "x", "hist": "y", "stem": "y"}

#: Functions that make an axis logarithmic, besides `set_xscale("log")` and the like.
_LOG_PLOTS = {"semilogx": "x", "semilogy": "y", "loglog": "xy"}


@rule(
    "bars-on-log-axis",
    reason="The length of a bar is its claim; on a logarithmic axis 8 looks like twice 1, or like anything.",
    fix="Draw bars from zero (`deskbook.pictures.bars`), or points on a logarithmic axis that says so "
    "(`deskbook.pictures.points`).",
)
def bars_on_log_axis(document: Document) -> Iterator[Problem]:
    """Report cells that draw bars along an axis that they make logarithmic.

    `Picture` refuses such a figure, too; this sees the drawings of a cell that does without it.
    """
    for cell in document.code_cells:
        lengths = {_BARS[name] for name, _ in _calls(cell) if name in _BARS}
        if axes := sorted(lengths & set(_log_axes(cell))):
            yield cell, f"bars stand on a logarithmic {axes[0]} axis"


def _calls(cell: Cell) -> Iterator[tuple[str, ast.Call]]:
    """Yield the methods that a cell calls, by name."""
    for node in cell.walk():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, node


def _log_axes(cell: Cell) -> Iterator[str]:
    for name, call in _calls(cell):
        words = {argument.value for argument in call.args if isinstance(argument, ast.Constant)}
        options = {each.arg: each.value for each in call.keywords}
        if name in ("set_xscale", "set_yscale", "xscale", "yscale") and words & {"log", "symlog"}:
            yield name.removeprefix("set_")[0]
        elif name in _LOG_PLOTS:
            yield from _LOG_PLOTS[name]
        elif name in _BARS and _is_true(options.get("log")):
            yield _BARS[name]
        for axis in "xy":
            value = options.get(f"{axis}scale")
            if isinstance(value, ast.Constant) and value.value in ("log", "symlog"):
                yield axis


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True
