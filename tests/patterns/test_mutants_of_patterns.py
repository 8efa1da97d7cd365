"""Changed at one place of its code, a pattern's travelling test turns red.

For each pattern some ten changes are chosen, always the same: a comparison turned, a number changed, a
condition negated, a call or a lock left out, in Python as well as in SQL and Lua. Each changed copy runs its
test in a folder of its own. What survives stands in `survivors.toml` with the reason, and nothing else does.

All changes of one pattern, while working on its test:

    python tests/patterns/test_mutants_of_patterns.py money --all
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from deskbook.patterns import Pattern, catalogue, get
from deskbook.patterns.copying import standalone_test
from deskbook.services import fresh_database, fresh_redis

PER_PATTERN = 10
MAX_SURVIVING_SHARE = 0.05
SURVIVORS = Path(__file__).with_name("survivors.toml")
#: Seconds for a test that is changed; one that waits for ever has noticed the change.
TIMEOUT_S = 30.0

TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
#: In SQL and Lua: what is looked for, what it becomes, and the kind of change.
IN_TEXT = (
    (r"(?<![<>=~])<=", "<", "comparison"),
    (r"(?<![<>=~])>=", ">", "comparison"),
    (r"(?<![<>=~|-])<(?![=>])", "<=", "comparison"),
    (r"(?<![<>=~|-])>(?!=)", ">=", "comparison"),
    (r"~=", "==", "comparison"),
    (r"==", "~=", "comparison"),
    (r" AND ", " OR ", "condition"),
    (r" and ", " or ", "condition"),
    (r"NOT EXISTS", "EXISTS", "condition"),
    (r"math\.max", "math.min", "number"),
    (r"math\.min", "math.max", "number"),
    (r"(?<![\w.%\[$'])\d+(?![\w.\]])", "+1", "number"),
    (r" SKIP LOCKED", "", "lock"),
    (r" FOR UPDATE( OF \w+)?( SKIP LOCKED)?", "", "lock"),
    (r", 'NX'", "", "call"),
    (r"(?m)^redis\.call\('(SET|HSET|PEXPIRE).*\)$", "", "call"),
)
IS_SQL_OR_LUA = re.compile(r"redis\.call|\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b")


@dataclass(frozen=True)
class Mutant:
    """One change of a pattern.

    Attributes:
        name: Which change it is, for people and for `survivors.toml`.
        kind: What is changed.
        node: The number of the node that is changed.
        index: Which of the changes of that node it is.
    """

    name: str
    kind: str
    node: int
    index: int

    def of(self, source: str) -> str:
        """Return the source with this change."""
        tree = ast.parse(source)
        node, _ = _code(tree)[self.node]
        _changes(node)[self.index][3]()
        return ast.unparse(ast.fix_missing_locations(tree))


def mutants(source: str) -> list[Mutant]:
    """Return every change that can be made to the code of a file."""
    found: list[Mutant] = []
    times: dict[str, int] = {}
    for number, (node, place) in enumerate(_code(ast.parse(source))):
        for index, (kind, before, after, _) in enumerate(_changes(node)):
            name = f"{place}: {before} -> {after}"
            times[name] = times.get(name, 0) + 1
            if times[name] > 1:
                name += f" ({times[name]})"
            found.append(Mutant(name, kind, number, index))
    return found


def chosen(pattern: str, source: str, number: int = PER_PATTERN) -> list[Mutant]:
    """Return some changes of a pattern: of each kind in turn, and always the same."""
    kinds: dict[str, list[Mutant]] = {}
    for mutant in sorted(mutants(source), key=lambda it: _digest(pattern, it.name)):
        kinds.setdefault(mutant.kind, []).append(mutant)
    found: list[Mutant] = []
    while len(found) < number and any(kinds.values()):
        for kind in sorted(kinds):
            if kinds[kind] and len(found) < number:
                found.append(kinds[kind].pop(0))
    return found


def _digest(pattern: str, name: str) -> str:
    return hashlib.sha256(f"{pattern} {name}".encode()).hexdigest()


def _code(tree: ast.Module) -> list[tuple[ast.AST, str]]:
    """Return the nodes that do something, each with the function or class that it stands in."""
    return list(_walk(tree, "module"))


def _walk(node: ast.AST, place: str) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        place = node.name if place == "module" else f"{place}.{node.name}"
    yield node, place
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "bases", "slice"} and not (
            name == "slice" and isinstance(node, ast.Subscript) and not _is_type(node)
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_no_code(child):
                yield from _walk(child, place)


def _is_type(node: ast.Subscript) -> bool:
    """Tell whether this is a type such as `dict[str, int]`, and no look into a container."""
    return isinstance(node.value, ast.Name) and (
        node.value.id[0].isupper() or node.value.id in {"dict", "type"}
    )


def _is_no_code(node: ast.AST) -> bool:
    """Leave out docstrings, messages, imports and what only types read."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        return isinstance(node.value.func, ast.Name) and node.value.func.id == "TypeVar"
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"TABLE", "INDEX", "SCHEMA"}


Change = tuple[str, str, str, Callable[[], object]]


def _changes(node: ast.AST) -> list[Change]:
    """Return the changes that can be made at a node: kind, before, after, and what makes it."""
    found: list[Change] = []
    before = ast.unparse(node) if isinstance(node, ast.expr) else ""
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            turned = TURNED[type(operator)]()
            after = ast.unparse(
                ast.Compare(node.left, [*node.ops[:index], turned, *node.ops[index + 1 :]], node.comparators)
            )
            found.append(("comparison", before, after, lambda i=index, o=turned: node.ops.__setitem__(i, o)))
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_text(node):
        other = ARITHMETIC[type(node.op)]()
        after = ast.unparse(ast.BinOp(node.left, other, node.right))
        found.append(("number", before, after, lambda: setattr(node, "op", other)))
    elif isinstance(node, ast.BoolOp):
        for index in range(len(node.values)):
            rest = node.values[:index] + node.values[index + 1 :]
            after = ast.unparse(ast.BoolOp(node.op, rest)) if len(rest) > 1 else ast.unparse(rest[0])
            found.append(("condition", before, after, lambda r=rest: setattr(node, "values", r)))
    elif isinstance(node, ast.Constant):
        found += _changes_of_constant(node, before)
    if isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node.test, ast.Constant):
        test = ast.unparse(node.test)
        opposite = (
            node.test.operand if isinstance(node.test, ast.UnaryOp) else ast.UnaryOp(ast.Not(), node.test)
        )
        after = ast.unparse(opposite)
        found.append(("condition", f"if {test}", f"if {after}", lambda: setattr(node, "test", opposite)))
    for name in ("body", "orelse", "finalbody"):
        statements = getattr(node, name, None)
        if isinstance(statements, list):
            found += _changes_of_block(statements)
    if isinstance(node, ast.With | ast.AsyncWith):
        for item in node.items:
            if item.optional_vars is None:
                nothing = ast.parse("__import__('contextlib').nullcontext()", mode="eval").body
                before = f"with {ast.unparse(item)}"
                found.append(
                    ("lock", before, "nothing", lambda i=item, n=nothing: setattr(i, "context_expr", n))
                )
    return found


def _changes_of_constant(node: ast.Constant, before: str) -> list[Change]:
    value = node.value
    if isinstance(value, bool):
        return [("condition", before, str(not value), lambda: setattr(node, "value", not value))]
    if isinstance(value, int | float):
        return [("number", before, str(value + 1), lambda: setattr(node, "value", value + 1))]
    if not (isinstance(value, str) and IS_SQL_OR_LUA.search(value)):
        return []
    found: list[Change] = []
    for pattern, replacement, kind in IN_TEXT:
        for match in re.finditer(pattern, value):
            text = str(int(match[0]) + 1) if replacement == "+1" else replacement
            after = value[: match.start()] + text + value[match.end() :]
            line = value[: match.start()].count("\n")
            old, new = " ".join(value.splitlines()[line].split()), " ".join(after.splitlines()[line].split())
            found.append((kind, old, new, lambda a=after: setattr(node, "value", a)))
    return found


def _changes_of_block(statements: list[ast.stmt]) -> list[Change]:
    """Leave out a call, a count, an error or a deletion."""
    found: list[Change] = []
    for index, statement in enumerate(statements):
        is_call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call | ast.Await)
        if is_call or isinstance(
            statement, ast.AugAssign | ast.Raise | ast.Delete | ast.Break | ast.Continue
        ):
            before = ast.unparse(statement)
            found.append(("call", before, "nothing", lambda i=index: statements.__setitem__(i, ast.Pass())))
    return found


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(it, ast.Constant | ast.JoinedStr) and not isinstance(getattr(it, "value", ""), int | float)
        for it in (node.left, node.right)
    )


def survives(
    pattern: Pattern, source: str, environment: dict[str, str], timeout_s: float = TIMEOUT_S
) -> bool:
    """Run the travelling test on this source in a folder of its own; return whether it stays green."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        Path(folder, f"{pattern.name}.py").write_text(source, encoding="utf-8")
        Path(folder, pattern.test.name).write_text(standalone_test(pattern), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-W", "error", "--assert=plain"]
        process = subprocess.Popen(
            [*command, "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder, folder],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": folder,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                **environment,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Addresses of servers that the changed copies may spoil."""
    with fresh_database() as database, fresh_redis() as redis:
        yield {"DATABASE_URL": database, "REDIS_URL": redis}


def named_survivors() -> dict[str, dict[str, str]]:
    """Read which changes no test can notice: pattern -> change -> reason."""
    return tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))


@pytest.mark.prove
@pytest.mark.parametrize("pattern", catalogue(), ids=lambda it: it.name)
def test_a_change_turns_the_travelling_test_red(pattern: Pattern, environment: dict[str, str]) -> None:
    assert survives(pattern, ast.unparse(ast.parse(pattern.source)), environment, 120), "red without a change"
    with ThreadPoolExecutor(2) as pool:
        candidates = chosen(pattern.name, pattern.source)
        green = list(pool.map(lambda it: survives(pattern, it.of(pattern.source), environment), candidates))
    survivors = {it.name for it, is_green in zip(candidates, green, strict=True) if is_green}
    assert survivors == set(named_survivors().get(pattern.name, {}))


def test_at_most_one_change_in_twenty_survives_and_each_has_a_reason() -> None:
    total = sum(len(chosen(it.name, it.source)) for it in catalogue())
    reasons = [reason for changes in named_survivors().values() for reason in changes.values()]
    assert len(reasons) <= MAX_SURVIVING_SHARE * total
    assert all(len(reason.split()) >= 5 for reason in reasons)


def test_a_change_is_made_at_one_place_and_nowhere_else() -> None:
    source = "def f(a, b):\n    if a < b and not b:\n        g(a)\n    return a + 1\n"
    names = {it.name: it.of(source) for it in mutants(source)}
    assert "if a <= b and (not b)" in names["f: a < b -> a <= b"]
    assert set(names) == {
        "f: a < b -> a <= b",
        "f: a < b and (not b) -> not b",
        "f: a < b and (not b) -> a < b",
        "f: if a < b and (not b) -> if not (a < b and (not b))",
        "f: g(a) -> nothing",
        "f: a + 1 -> a - 1",
        "f: 1 -> 2",
    }


def main() -> None:
    """Try all changes of a pattern, or the chosen ones, and print those that survive."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    with fresh_database() as database, fresh_redis() as redis:
        for name in options.names:
            _report(get(name), options.all, {"DATABASE_URL": database, "REDIS_URL": redis})


def _report(pattern: Pattern, with_all: bool, environment: dict[str, str]) -> None:
    started_s = time.monotonic()
    assert survives(pattern, ast.unparse(ast.parse(pattern.source)), environment, 120), "red without a change"
    timeout_s = max(10.0, 5 * (time.monotonic() - started_s))
    candidates = mutants(pattern.source) if with_all else chosen(pattern.name, pattern.source)
    with ThreadPoolExecutor(2) as pool:
        sources = (it.of(pattern.source) for it in candidates)
        green = list(pool.map(lambda it: survives(pattern, it, environment, timeout_s), sources))
    survivors = [it for it, is_green in zip(candidates, green, strict=True) if is_green]
    took_s = time.monotonic() - started_s
    print(f"{pattern.name}: {len(survivors)} of {len(candidates)} survive ({took_s:.0f} s)", flush=True)
    for mutant in survivors:
        print(f"    {mutant.kind}: {mutant.name}", flush=True)


if __name__ == "__main__":
    main()
