import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from deskbook.cli import main
from deskbook.patterns import PatternError, catalogue, copy_pattern, find, get
from deskbook.patterns.catalogue import PROBLEMS, script_metadata

CHECKOUT = Path(__file__).parents[2]


def deskbook(*arguments):
    return CliRunner().invoke(main, ["pattern", *map(str, arguments)])


def test_every_pattern_is_listed_under_a_problem_and_says_when_to_use_it_and_its_limits():
    listed = {name for names in PROBLEMS.values() for name in names}
    for pattern in catalogue():
        assert pattern.name in listed
        assert pattern.summary.endswith(".")
        assert pattern.use_when.startswith("Use it ")
        assert pattern.limits.startswith("Limits: ")
        assert pattern.test.is_file()


def test_the_list_goes_by_problem_and_words_narrow_it():
    everything = deskbook("list").output
    assert "money loses digits\n  money " in everything
    assert "problem_details" in everything
    narrowed = deskbook("list", "loses", "digits").output
    assert "  money " in narrowed
    assert "problem_details" not in narrowed
    assert "No pattern speaks of 'flying pigs'" in deskbook("list", "flying", "pigs").output


def test_programs_get_json():
    records = {it["name"]: it for it in json.loads(deskbook("list", "--json").output)}
    assert records["money"]["problems"] == ["money loses digits"]
    assert records["money"]["requires_python"] == ">=3.11"


def test_show_prints_the_file():
    assert deskbook("show", "money").output == get("money").source


@pytest.mark.parametrize(("name", "near"), [("mony", "money"), ("problem-detail", "problem_details")])
def test_an_unknown_name_gets_the_nearest_ones(name, near, tmp_path):
    done = deskbook("copy", name, tmp_path)
    assert done.exit_code == 1
    assert f"There is no pattern {name!r}. Did you mean {near}?" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_copy_says_where_it_came_from_and_what_it_needs(tmp_path):
    done = deskbook("copy", "money", tmp_path / "new" / "folder", "--with-test")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "new" / "folder" / "money.py").read_text()
    assert text.startswith(
        "# From the FastAPI Deskbook 0.1.0, reference_app/patterns/money.py. MIT licence.\n"
    )
    assert "pydantic 2." in text.splitlines()[1]
    assert script_metadata(text) == script_metadata(get("money").source)
    assert "install: pip install 'pydantic>=2.12' 'pytest'" in done.output
    test = (tmp_path / "new" / "folder" / "test_money.py").read_text()
    assert "from money import" in test
    assert "from reference_app" not in test


def test_nothing_is_overwritten_without_force(tmp_path):
    (tmp_path / "test_money.py").write_text("mine")
    with pytest.raises(PatternError, match=r"test_money\.py would be overwritten"):
        copy_pattern(get("money"), tmp_path, with_test=True)
    assert [path.name for path in tmp_path.iterdir()] == ["test_money.py"]  # nor half of it written
    copy_pattern(get("money"), tmp_path, with_test=True, force=True)
    assert (tmp_path / "test_money.py").read_text() != "mine"


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(PatternError, match="cannot be written"):
        copy_pattern(get("money"), tmp_path / "taken" / "deeper")


def test_find_looks_into_problems_and_descriptions():
    assert [pattern.name for pattern in find("stops every request")] == ["loop_lag"]


@pytest.mark.prove
def test_a_bare_install_lists_and_copies_with_click_and_httpx_alone(tmp_path):
    """The wheel, in an environment without FastAPI, Jupyter or a database driver."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "build", "-q", "--wheel", "-o", tmp_path, CHECKOUT], check=True)
    subprocess.run([*uv, "venv", "-q", "--python", sys._base_executable, tmp_path / "env"], check=True)
    [wheel] = tmp_path.glob("*.whl")
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([*uv, "pip", "install", "-q", "--python", python, wheel], check=True)
    done = subprocess.run(
        [python, "-m", "deskbook", "pattern", "copy", "money", "mine", "--with-test"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "mine" / "test_money.py").is_file(), done.stdout
    packages = subprocess.run(
        [*uv, "pip", "list", "--format=json", "--python", python], capture_output=True, text=True, check=True
    )
    names = {it["name"] for it in json.loads(packages.stdout)}
    assert names.isdisjoint({"fastapi", "jupyterlab", "sqlalchemy"})
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) == 2
