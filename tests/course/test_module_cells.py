"""`%%module` saves a cell as a module of this kernel."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from deskbook import module_cells
from deskbook.authoring.strict_run import strict_pytest
from deskbook.module_cells import module_folder, write_module
from deskbook.processes.leftovers import remove_folders_of_the_dead
from IPython.core.interactiveshell import InteractiveShell


def test_a_cell_becomes_a_module_and_a_second_run_replaces_it() -> None:
    shell = InteractiveShell()
    module_cells.load_ipython_extension(shell)
    shell.run_cell_magic("module", "fees_desk", "FEE = 1\n")
    assert importlib.import_module("fees_desk").FEE == 1
    shell.run_cell_magic("module", " fees_desk ", "FEE = 22\n")
    assert importlib.import_module("fees_desk").FEE == 22


def test_a_mistake_in_the_code_shows_in_its_own_cell() -> None:
    with pytest.raises(SyntaxError, match="expected ':'"):
        write_module("broken_desk", "def price()\n    return 1\n")
    assert not (module_folder() / "broken_desk.py").exists()


@pytest.mark.parametrize("name", ["", "quotes desk", "../quotes", "quotes.py"])
def test_a_name_that_cannot_be_imported_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="needs a name that can be imported"):
        write_module(name, "")


@pytest.mark.parametrize("name", ["json", "fastapi", "reference_app"])
def test_the_name_of_an_installed_module_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is installed already; take another name"):
        write_module(name, "")


def test_the_folder_of_a_killed_kernel_is_removed_by_the_next_one() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = Path(tempfile.mkdtemp(prefix=f"{module_cells.PREFIX}{dead.pid}-"))
    remove_folders_of_the_dead(module_cells.PREFIX)
    assert not left.exists()
    assert module_folder().exists()


def test_a_verified_notebook_leaves_no_folder_although_nbval_kills_its_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = ["%load_ext deskbook", "%%module quotes_desk\nprice = 1", "import quotes_desk"]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell, execution_count=count) for count, cell in enumerate(cells, 1)]
    )
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with (tmp_path / "log.txt").open("w") as log:
        assert strict_pytest([str(tmp_path / "lesson.ipynb")], output=log.fileno()) == 0
    assert list(tmp_path.glob("deskbook-*")) == []
