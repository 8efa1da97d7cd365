"""The planted notebooks are material of these tests; the run over all notebooks leaves them out."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deskbook.authoring.notebook_file import read_notebook, write_notebook

collect_ignore_glob = ["planted/*"]

CLEAN_LESSON = Path(__file__).with_name("planted") / "11_clean_lesson.ipynb"

Notebook = dict[str, Any]


@pytest.fixture(scope="session")
def clean_lesson() -> Notebook:
    """Return the lesson in which nothing is wrong."""
    return read_notebook(CLEAN_LESSON)


@pytest.fixture
def plant(tmp_path: Path, clean_lesson: Notebook) -> Callable[[Callable[[Notebook], None]], Path]:
    """Return a function that writes the clean lesson with one defect and returns its path."""

    def write(defect: Callable[[Notebook], None]) -> Path:
        notebook = copy.deepcopy(clean_lesson)
        defect(notebook)
        path = tmp_path / CLEAN_LESSON.name
        write_notebook(path, notebook) if _is_valid(notebook) else path.write_text(json.dumps(notebook))
        return path

    return write


def _is_valid(notebook: Notebook) -> bool:
    """Some defects break the notebook format itself; those are written as they are."""
    ids = [cell.get("id") for cell in notebook["cells"]]
    return len(set(ids)) == len(ids)
