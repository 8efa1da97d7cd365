"""`%%module` saves a cell as a module of this kernel."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from deskbook.serving import modules
from deskbook.serving.modules import module_folder, write_module
from IPython.core.interactiveshell import InteractiveShell


def test_a_cell_becomes_a_module_and_a_second_run_replaces_it() -> None:
    shell = InteractiveShell()
    modules.load_ipython_extension(shell)
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
    left = Path(tempfile.mkdtemp(prefix=f"{modules.PREFIX}{dead.pid}-"))
    modules._remove_folders_of_the_dead()
    assert not left.exists()
    assert module_folder().exists()
