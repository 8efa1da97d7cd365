"""`deskbook course write`: the pages say what lessons and patterns say, and are left alone where they do."""

import json
import shutil
from pathlib import Path

from click.testing import CliRunner
from deskbook.checkout import NotACheckoutError
from deskbook.cli import main
from deskbook.course import commands

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def call():
    return CliRunner().invoke(main, ["course", "write"])


def test_it_writes_and_runs_what_is_out_of_date_and_leaves_the_rest_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "root", lambda: tmp_path)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(NOTEBOOKS / "41_see_a_race.ipynb", folder)
    cell = {"cell_type": "code", "id": "map", "metadata": {}, "execution_count": None, "outputs": []}
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# Meet the desk"}
    facts = {"minutes": 5, "part": "0 Start"}
    start = {
        "cells": [title, cell | {"source": "1 + 1"}],
        "metadata": {"deskbook": facts},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / "00_start_here.ipynb").write_text(json.dumps(start))
    done = call()
    assert done.exit_code == 0, done.output
    assert "wrote README.md\nwrote 90_pattern_index.ipynb\nwrote 00_start_here.ipynb" in done.output
    page = json.loads((folder / "90_pattern_index.ipynb").read_text(encoding="utf-8"))
    committed = json.loads((NOTEBOOKS / "90_pattern_index.ipynb").read_text(encoding="utf-8"))
    assert page["cells"] == committed["cells"]
    assert "[See a race](41_see_a_race.ipynb)" in (folder / "README.md").read_text()
    [ran] = [
        it for it in json.loads((folder / "00_start_here.ipynb").read_text())["cells"] if "outputs" in it
    ]
    assert ran["execution_count"] == 1


def test_pages_that_are_up_to_date_are_not_written(tmp_path, monkeypatch):
    """On a copy: where the committed pages are out of date, a test must not write them."""
    monkeypatch.setattr(commands, "root", lambda: tmp_path)
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("deskbook"))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = call()
    assert done.exit_code == 0, done.output
    assert "nothing to write" in done.output
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_outside_of_a_checkout_it_says_so(monkeypatch):
    def nowhere():
        raise NotACheckoutError

    monkeypatch.setattr(commands, "root", nowhere)
    done = call()
    assert (done.exit_code, done.output) == (1, f"Error: {NotACheckoutError()}\n")
