"""Who may import whom: the contracts of pyproject.toml, and what they cannot say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest
from sqlalchemy import Table
from sqlalchemy.orm import configure_mappers

import reference_app.infra.database.pattern_tables  # noqa: F401 - it fills the metadata, as the models do
from reference_app.infra.database.base import Base
from reference_app.nouns import NOUNS, Noun, import_models

ROOT = Path(__file__).parents[2]
NOUN_FILES = {"router.py", "service.py", "repository.py", "schemas.py", "models.py", "problems.py"}
#: What another noun may import of a noun; `dependencies` and `tokens` say who asks.
DOORS = {"service", "problems", "dependencies", "tokens"}


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


EACH_NOUN = pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.name)


def folder(noun: Noun) -> Path:
    return ROOT / "reference_app" / noun.name


def test_the_list_of_nouns_has_every_noun() -> None:
    found = {path.parent.name for path in (ROOT / "reference_app").glob("*/router.py")}
    assert {noun.name for noun in NOUNS} == found


@EACH_NOUN
def test_every_noun_has_the_same_file_names(noun: Noun) -> None:
    assert {path.name for path in folder(noun).glob("*.py")} >= NOUN_FILES


def test_every_file_of_a_noun_has_its_layer() -> None:
    """The contract would not miss a module that it does not name."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (it["layers"] for it in contracts if it["name"].startswith("In each noun"))
    named = set(re.findall(r"\w+", " ".join(layers)))
    assert {path.stem for noun in NOUNS for path in folder(noun).glob("*.py")} - {"__init__"} == named


@EACH_NOUN
def test_a_noun_is_reached_through_its_service(noun: Noun, imports: grimp.ImportGraph) -> None:
    inside = f"reference_app.{noun.name}."
    found = {
        (importer, module)
        for module in imports.modules
        if module.startswith(inside) and module.removeprefix(inside) not in DOORS
        for importer in imports.find_modules_that_directly_import(module)
        if not importer.startswith(inside) and importer.startswith("reference_app.")
    }
    assert found == set()


@EACH_NOUN
def test_a_repository_never_commits_and_a_router_never_sees_a_session(noun: Noun) -> None:
    repository = (folder(noun) / "repository.py").read_text(encoding="utf-8")
    assert ".commit(" not in repository
    assert ".begin(" not in repository
    router = (folder(noun) / "router.py").read_text(encoding="utf-8")
    assert "sqlalchemy" not in router
    assert "yield" not in router


#: Tables of others that a noun names in its SQL, with the reason why it does not ask their service.
TABLES_OF_OTHERS = {
    ("candles", "instruments"): "a million rows are joined with their symbols, in the database",
    ("portfolio", "accounts"): "shares are reserved, and their owner is checked, in one round trip",
    ("orders", "queue"): "an order, its job and its event are one round trip (`PLACE`)",
    ("orders", "outbox"): "an order, its job and its event are one round trip (`PLACE`)",
}
#: What stands after these words is a table, or the name of a subquery, which is no table of ours.
NAMED = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|ANALYZE(?: \(\w+\))?)\s+(?:ONLY\s+)?(\w+)")


def tables_named(text: str) -> set[str]:
    import_models()
    return {name for name in NAMED.findall(text) if name in Base.metadata.tables}


def test_the_tables_that_sql_names_are_found() -> None:
    sql = "WITH a AS (INSERT INTO orders SELECT 1) UPDATE accounts SET x = 1 FROM positions p JOIN queue"
    assert tables_named(sql) == {"orders", "accounts", "positions", "queue"}
    assert tables_named("SELECT now() FROM placed") == set()


def test_sql_names_the_tables_of_its_own_noun() -> None:
    """Imports keep nouns apart, and SQL could go past them."""
    found = set()
    for noun in NOUNS:
        own = {
            table.name
            for model in vars(noun.module("models")).values()
            if isinstance(table := getattr(model, "__table__", None), Table)
        }
        for path in folder(noun).glob("*.py"):
            # A model of another noun cannot be imported; so what is left are names in text.
            found |= {(noun.name, name) for name in tables_named(path.read_text(encoding="utf-8")) - own}
    assert found == TABLES_OF_OTHERS.keys()


def test_no_relationship_loads_by_itself() -> None:
    import_models()
    configure_mappers()
    relationships = [item for mapper in Base.registry.mappers for item in mapper.relationships]
    assert relationships
    assert {item.lazy for item in relationships} == {"raise"}


def test_nothing_is_opened_at_import() -> None:
    """No file makes an engine, a client or settings at its top level."""
    for path in (ROOT / "reference_app").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not line.startswith(("engine =", "settings =", "app =", "client =")), path
