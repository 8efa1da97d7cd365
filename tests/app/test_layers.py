"""Who may import whom: the contracts of pyproject.toml, and what they cannot say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from sqlalchemy.orm import configure_mappers

import reference_app.app  # noqa: F401 - brings all models
from reference_app.infra.database import Base

ROOT = Path(__file__).parents[2]
NOUN_FILES = {"router.py", "service.py", "repository.py", "schemas.py", "models.py", "problems.py"}


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("reference_app", "deskbook", include_external_packages=True, cache_dir=None)


def test_the_contracts_hold() -> None:
    # A process of its own: import-linter configures logging and would silence the loggers of other tests.
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_explorer_can_be_used_alone(imports: grimp.ImportGraph) -> None:
    """`deskbook.races` imports nothing of the course or the app, but for the empty package `deskbook`."""
    outside = {
        (module, imported)
        for module in imports.modules
        if f"{module}.".startswith("deskbook.races.")
        for imported in imports.find_modules_directly_imported_by(module)
        if imported.startswith(("deskbook.", "reference_app"))
        and not f"{imported}.".startswith("deskbook.races.")
    }
    assert outside == set()


def test_nothing_imports_the_exercises_or_the_tests(imports: grimp.ImportGraph) -> None:
    for name in ("exercises", "tests"):
        if name in imports.modules:
            assert imports.find_modules_that_directly_import(name) == set()


def nouns() -> list[Path]:
    return [path.parent for path in sorted((ROOT / "reference_app").glob("*/router.py"))]


@pytest.mark.parametrize("noun", nouns(), ids=lambda path: path.name)
def test_every_noun_has_the_same_file_names(noun: Path) -> None:
    assert {path.name for path in noun.glob("*.py")} >= NOUN_FILES


@pytest.mark.parametrize("noun", nouns(), ids=lambda path: path.name)
def test_a_repository_never_commits_and_a_router_never_sees_a_session(noun: Path) -> None:
    repository = (noun / "repository.py").read_text(encoding="utf-8")
    assert ".commit(" not in repository
    assert ".begin(" not in repository
    router = (noun / "router.py").read_text(encoding="utf-8")
    assert "sqlalchemy" not in router
    assert "yield" not in router


def test_no_relationship_loads_by_itself() -> None:
    configure_mappers()
    relationships = [item for mapper in Base.registry.mappers for item in mapper.relationships]
    assert relationships
    assert {item.lazy for item in relationships} == {"raise"}


def test_nothing_is_opened_at_import() -> None:
    """No file makes an engine, a client or settings at its top level."""
    for path in (ROOT / "reference_app").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not line.startswith(("engine =", "settings =", "app =", "client =")), path


def test_no_file_is_over_300_lines() -> None:
    # By path: every noun has a service.py, and by name only the last of them would count.
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "reference_app").rglob("*.py")
    }
    assert len(sizes) > 100
    assert {name: size for name, size in sizes.items() if size > 300} == {}
