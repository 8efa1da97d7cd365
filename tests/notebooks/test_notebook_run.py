"""`deskbook notebook run`: one clean run, stored in one form, or nothing changed at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from click.testing import CliRunner, Result
from deskbook.atomic_file import write_atomically
from deskbook.authoring.commands import notebook as notebook_group
from deskbook.authoring.kernel import applied_to_process, kernel_environment
from deskbook.authoring.normalise import merge_streams, normalise, normalise_output
from deskbook.authoring.notebook_file import read_notebook

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a notebook of code cells; a tuple gives the tags of a cell."""

    def write_cells(*cells: str | tuple[str, list[str]]) -> Path:
        made = []
        for number, cell in enumerate(cells):
            source, tags = (cell, []) if isinstance(cell, str) else cell
            made.append(nbformat.v4.new_code_cell(source, id=f"cell-{number}", metadata={"tags": tags}))
        path = tmp_path / "lesson.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=made), path)
        return path

    return write_cells


def call(*arguments: object) -> Result:
    return CliRunner().invoke(notebook_group, [str(argument) for argument in arguments])


def test_a_run_uses_this_interpreter_and_no_configuration_of_the_user(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "jupyter" / "kernels" / "python3"
    elsewhere.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "elsewhere", "language": "python"}
    elsewhere.joinpath("kernel.json").write_text(json.dumps(spec))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    startup.joinpath("00.py").write_text(
        "print('from the profile of the user')\nprofile_of_the_user = True\n"
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONWARNINGS", "error")

    path = write(
        "import os, sys\nfrom pathlib import Path\nos.path.samefile(sys.executable, os.environ['EXPECTED'])",
        "'profile_of_the_user' in globals()",
        "sorted(p.name for p in Path().glob('*.ipynb'))",
        "from deskbook.authoring import hook\nhook._watch is not None",
        ("prices = {}\nprices['NONE']", ["raises-exception"]),
        "import warnings\nwarnings.warn('one deprecated call', stacklevel=1)",
        "for n in range(3):\n    print(n, flush=True)\n    print('e', n, file=sys.stderr, flush=True)",
    )
    monkeypatch.setenv("EXPECTED", sys.executable)
    assert call("run", path).exit_code == 0
    cells = read_notebook(path)["cells"]
    assert [cell["execution_count"] for cell in cells] == [1, 2, 3, 4, 5, 6, 7]
    plain = [cell["outputs"][0].get("data", {}).get("text/plain") for cell in cells[:4]]
    assert plain == ["True", "False", "['lesson.ipynb']", "True"]
    assert cells[4]["outputs"][0]["ename"] == "KeyError"
    assert cells[5]["outputs"][0]["text"].startswith("cell.py:2: UserWarning: one deprecated call")
    assert [(o["name"], o["text"]) for o in cells[6]["outputs"]] == [
        ("stdout", "0\n1\n2\n"),
        ("stderr", "e 0\ne 1\ne 2\n"),
    ]

    first = path.read_bytes()
    again = call("run", path)
    assert again.exit_code == 0
    assert "unchanged" in again.output
    assert path.read_bytes() == first


def test_a_cell_that_fails_is_shown_and_the_file_stays_as_it_was(write: Write) -> None:
    path = write("price = 191.5", "print('before')\nprice / 0")
    before = path.read_bytes()
    result = call("run", path)
    assert result.exit_code == 1
    assert "Cell 2 failed:" in result.output
    assert "    price / 0" in result.output
    assert "before" in result.output
    assert "ZeroDivisionError: " in result.output  # whose text is another one from Python 3.14 on
    assert "The notebook was not changed." in result.output
    assert path.read_bytes() == before


def test_a_cell_that_hangs_ends_at_the_limit(write: Write) -> None:
    result = call("run", "--timeout", "1", write("while True:\n    pass"))
    assert result.exit_code == 1
    assert "It took longer than 1 s." in result.output


def test_an_announced_error_that_does_not_come_fails_the_run(write: Write) -> None:
    result = call("run", write(("1 + 1", ["raises-exception"])))
    assert result.exit_code == 1
    assert "it raised none" in result.output


def test_a_kernel_that_dies_is_reported(write: Write) -> None:
    result = call("run", write("import os\nos._exit(1)"))
    assert result.exit_code == 1
    assert "The kernel died" in result.output


def test_a_notebook_that_another_run_has_saved_meanwhile_is_not_overwritten(
    write: Write, tmp_path: Path
) -> None:
    path = write("from pathlib import Path\nPath('lesson.ipynb').write_text('saved by somebody else')")
    result = call("run", path)
    assert result.exit_code == 1
    assert "saved by somebody else while its cells ran" in result.output
    assert path.read_text() == "saved by somebody else"


@pytest.mark.parametrize(
    ("content", "says"),
    [("<<<<<<< HEAD", "A merge conflict left in it?"), ('{"nbformat": 3}', "not a notebook of format 4")],
)
def test_a_file_that_is_no_notebook_gets_one_clear_sentence(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_text(content)
    for command in ("run", "lint"):
        result = call(command, path)
        assert result.exit_code == 1
        assert says in result.output


def test_a_missing_notebook_gets_one_clear_sentence(tmp_path: Path) -> None:
    result = call("run", tmp_path / "missing.ipynb")
    assert result.exit_code == 1
    assert "There is no notebook" in result.output


def test_the_committed_form_holds_no_time_version_or_state_of_a_front_end() -> None:
    metadata = {"execution": {"iopub.execute_input": "2026"}, "scrolled": True, "tags": ["raises-exception"]}
    cell = {"cell_type": "code", "metadata": metadata, "source": "", "outputs": [], "execution_count": 1}
    notebook: dict[str, Any] = {
        "cells": [cell],
        "metadata": {
            "deskbook": {"minutes": 5},
            "widgets": {},
            "language_info": {"version": "3.11.7"},
            "kernelspec": {"name": "my-env"},
        },
    }
    normalise(notebook)
    assert notebook["cells"][0]["metadata"] == {"tags": ["raises-exception"]}
    assert set(notebook["metadata"]) == {"deskbook", "kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "version" not in notebook["metadata"]["language_info"]


def test_tracebacks_lose_colours_paths_and_addresses() -> None:
    library = Path(nbformat.__file__)
    error = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": "no price",
        "traceback": [
            f"\x1b[31mFile {library}:3\x1b[0m",
            "<Task at 0x7f00deadbeef>",
            str(Path.home() / "desk.py"),
        ],
    }
    assert normalise_output(error)["traceback"] == [
        "File site-packages/nbformat/__init__.py:3",
        "<Task at 0x...>",
        "~/desk.py",
    ]


def test_pieces_of_a_stream_are_joined_only_where_nothing_stands_between_them() -> None:
    def out(text: str) -> dict[str, Any]:
        return {"output_type": "stream", "name": "stdout", "text": text}

    err = {"output_type": "stream", "name": "stderr", "text": "late"}
    shown = {"output_type": "display_data", "data": {}, "metadata": {}}
    assert merge_streams([err, out("a"), out("b"), shown, out("c")]) == [out("ab"), err, shown, out("c")]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "lesson.ipynb"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "half \udc80")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_environment_of_a_kernel_is_its_own_and_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    with kernel_environment() as variables:
        folder = Path(variables["IPYTHONDIR"])
        assert "PYTHONASYNCIODEBUG" not in variables
        with applied_to_process(variables):
            assert folder.is_dir()
    assert not folder.exists()


def test_a_run_that_is_killed_leaves_no_kernel_and_no_folder(write: Write, tmp_path: Path) -> None:
    path = write(
        "import os\nfrom pathlib import Path\n\nPath('pid.part').write_text(str(os.getpid()))\n"
        "os.rename('pid.part', 'pid')\nimport asyncio\nawait asyncio.sleep(3600)"
    )
    own_tmp = tmp_path / "tmp"
    own_tmp.mkdir()
    command = [sys.executable, "-m", "deskbook", "notebook", "run", str(path)]
    with subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(own_tmp)}, stderr=subprocess.DEVNULL
    ) as run:
        wait_until((tmp_path / "pid").exists)
        kernel_pid = int((tmp_path / "pid").read_text())
        assert psutil.pid_exists(kernel_pid)
        run.send_signal(signal.SIGTERM)
    wait_until(lambda: not psutil.pid_exists(kernel_pid))
    assert list(own_tmp.iterdir()) == []


def wait_until(happened: Callable[[], bool], limit_s: float = 30.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < ends_at, f"it did not happen within {limit_s} s"
        time.sleep(0.02)
