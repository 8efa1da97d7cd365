"""The contract of a pattern file: alone in an empty folder, with its test, it works."""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

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


@pytest.fixture(scope="module")
def travelled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ElementTree.Element]]:
    """Copy each pattern with its test into a folder of its own, and run them all in one process.

    One process for all saves the start of an interpreter and of pytest for each of them. That a pattern does
    not lean on its neighbour is seen by its imports, above.

    Returns:
        The test cases of each pattern.
    """
    folder = tmp_path_factory.mktemp("travelled")
    for pattern in PATTERNS:
        copy_with_test(pattern, folder / pattern.stem)
    report = folder / "report.xml"
    command = ["pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    command += ["--continue-on-collection-errors"]
    given = {name: os.environ[name] for name in ("PATH", "DATABASE_URL", "REDIS_URL")}
    run = subprocess.run(
        [sys.executable, "-m", *command, f"--junitxml={report}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=given,
        check=False,
    )
    assert report.exists(), run.stdout + run.stderr
    cases: dict[str, list[ElementTree.Element]] = {pattern.stem: [] for pattern in PATTERNS}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname") or case.get("name") or ""  # a file that cannot be imported has no class
        cases[name.split(".")[0]].append(case)
    return cases


def copy_with_test(pattern: Path, folder: Path) -> None:
    test = ROOT / "tests" / "patterns" / f"test_{pattern.stem}.py"
    if not test.exists():
        return  # that pattern is red below: it has no cases
    text = test.read_text(encoding="utf-8").replace(f"reference_app.patterns.{pattern.stem}", pattern.stem)
    text = text.replace(f"from reference_app.patterns import {pattern.stem}", f"import {pattern.stem}")
    folder.mkdir()
    (folder / pattern.name).write_text(pattern.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / test.name).write_text(text, encoding="utf-8")


@each_pattern
def test_its_test_names_nothing_of_this_repository(pattern: Path) -> None:
    text = (ROOT / "tests" / "patterns" / f"test_{pattern.stem}.py").read_text(encoding="utf-8")
    text = text.replace(f"reference_app.patterns.{pattern.stem}", "")
    text = text.replace(f"from reference_app.patterns import {pattern.stem}", "")
    assert "reference_app" not in text
    assert "deskbook" not in text


@each_pattern
def test_it_travels_with_its_test(pattern: Path, travelled: dict[str, list[ElementTree.Element]]) -> None:
    cases = travelled[pattern.stem]
    assert len(cases) > 0
    wrong = [
        f"{case.get('name')}: {outcome.tag}\n{outcome.text}"
        for case in cases
        for outcome in case
        if outcome.tag in {"failure", "error", "skipped"}
    ]
    assert not wrong, "\n".join(wrong)
