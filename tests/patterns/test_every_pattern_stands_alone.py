"""The contract of a pattern file, as far as its text tells.

That it works alone in an empty folder: `tests/pattern_command/test_copied_patterns_run_alone.py`.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import io
import re
import sys
import tokenize
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


MAX_CODE_LINES = 100
DESCRIBED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Count the lines that are neither empty nor a comment nor part of a docstring."""
    described: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DESCRIBED) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            described.update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - described)


@each_pattern
def test_it_has_at_most_100_lines_of_code(pattern: Path) -> None:
    """Prose is free: a limit on it would only squeeze the paragraphs out of the docstrings."""
    assert code_lines(pattern.read_text(encoding="utf-8")) <= MAX_CODE_LINES


def test_only_code_counts() -> None:
    prose = '"""Prose\n\non two lines."""\n\n# a comment\n'
    query = 'X = """\nSQL\n"""  # a remark\n\n'
    function = 'def f():\n    "Says."\n    return (\n        1\n    )\n'
    source = prose + query + function
    assert code_lines(source) == 7


@each_pattern
def test_its_docstring_has_a_paragraph_for_each_question(pattern: Path) -> None:
    """The command, the page of patterns and a reader in a hurry look for them by their first words."""
    docstring = ast.get_docstring(ast.parse(pattern.read_text(encoding="utf-8"))) or ""
    starts = [
        re.match(r"Use it|Do not use it|Limits:|Instead:|Example:|Source:", it)
        for it in docstring.split("\n\n")
    ]
    questions = [it[0] for it in starts if it is not None]
    expected = ["Use it", "Do not use it", "Limits:", "Instead:", "Example:", "Source:"]
    assert questions == [it for it in expected if it != "Do not use it" or it in questions]


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
