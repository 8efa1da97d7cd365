"""The contract of a pattern file, as far as its text tells.

That it works alone in an empty folder: `tests/pattern_command/test_copied_patterns_run_alone.py`.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATTERNS = sorted(
    path for path in (ROOT / "reference_app" / "patterns").glob("*.py") if path.name != "__init__.py"
)
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=lambda path: path.stem)


def declared_dependencies(pattern: Path) -> list[str]:
    """Read the PEP 723 block, with the expression of the specification."""
    block = re.search(
        r"(?m)^# /// (?P<type>script)$\s(?P<content>(^#(| .*)$\s)+)^# ///$",
        pattern.read_text(encoding="utf-8"),
    )
    assert block is not None, f"{pattern.name} has no PEP 723 block"
    text = re.sub(r"(?m)^# ?", "", block["content"])
    dependencies: list[str] = tomllib.loads(text)["dependencies"]
    return dependencies


@each_pattern
def test_it_has_40_to_150_lines(pattern: Path) -> None:
    assert 40 <= len(pattern.read_text(encoding="utf-8").splitlines()) <= 150


@each_pattern
def test_it_imports_only_what_it_declares(pattern: Path) -> None:
    tree = ast.parse(pattern.read_text(encoding="utf-8"))
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {
        (node.module or ".").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }
    declared = {re.split(r"[^\w-]", name)[0].replace("-", "_") for name in declared_dependencies(pattern)}
    if "fastapi" in declared:
        declared |= {"starlette", "pydantic"}  # it requires them, and its users import them
    if "pydantic" in declared:
        declared |= {"pydantic_core"}
    assert imported - set(sys.stdlib_module_names) <= declared


@each_pattern
def test_its_example_runs(pattern: Path) -> None:
    module = importlib.import_module(f"reference_app.patterns.{pattern.stem}")
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


#: What no two requests share; all others are explored, and their tests reject a wrong twin.
NO_SHARED_STATE = {
    "bulk_copy",
    "conditional_request",
    "jsonl_stream",
    "keyset_page",
    "loop_lag",
    "money",
    "negotiation",
    "problem_details",
}


@each_pattern
def test_what_requests_share_is_explored_and_has_wrong_twins(pattern: Path) -> None:
    exploration = ROOT / "tests" / "races" / f"test_{pattern.stem}.py"
    assert exploration.exists() != (pattern.stem in NO_SHARED_STATE)
    test = (ROOT / "tests" / "patterns" / f"test_{pattern.stem}.py").read_text(encoding="utf-8")
    assert pattern.stem in NO_SHARED_STATE or re.search(r"(?m)^(async )?def test_\w*rejected", test)


@each_pattern
def test_its_test_names_nothing_of_this_repository(pattern: Path) -> None:
    text = (ROOT / "tests" / "patterns" / f"test_{pattern.stem}.py").read_text(encoding="utf-8")
    # One convention, which the command turns round in a copy.
    text = text.replace(f"from reference_app.patterns.{pattern.stem} import ", "")
    assert "reference_app" not in text
    assert "deskbook" not in text
