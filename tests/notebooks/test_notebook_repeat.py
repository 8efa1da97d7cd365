"""`deskbook notebook repeat`: how many of several fresh runs are green, and what differed first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from click.testing import CliRunner, Result
from deskbook.authoring.busy_cores import busy_cores
from deskbook.authoring.commands import notebook as notebook_group

#: Counts the runs in a file beside the notebook, and prints another price in the second.
FAILS_ONCE = """\
from pathlib import Path

runs = Path("runs.txt")
run = int(runs.read_text()) + 1 if runs.exists() else 1
_ = runs.write_text(str(run))"""
PRICE = 'price = 192.0 if run == 2 else 191.5\nprint(f"AAPL costs {price}")'


def lesson(folder: Path) -> Path:
    """Write a lesson whose second cell prints another price in its second run."""
    outputs = [nbformat.v4.new_output("stream", name="stdout", text="AAPL costs 191.5\n")]
    cells = [
        nbformat.v4.new_markdown_cell("# Ask for a price"),
        nbformat.v4.new_code_cell(FAILS_ONCE, execution_count=1),
        nbformat.v4.new_code_cell(PRICE, execution_count=2, outputs=outputs),
    ]
    path = folder / "11_fails_once.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(notebook_group, ["repeat", *map(str, arguments)])


def test_a_lesson_that_fails_in_one_of_several_runs_is_red_and_shows_what_differed(tmp_path: Path) -> None:
    result = call(lesson(tmp_path), "--times", 3)
    assert result.exit_code == 1
    assert "11_fails_once.ipynb: 2 of 3 green (2 of 3 quiet)" in result.output
    assert "First red: run 2, on a quiet machine." in result.output
    assert "code cell 2: Cell outputs differ" in result.output
    assert 'print(f"AAPL costs {price}")' in result.output
    assert "-AAPL costs 191.5" in result.output
    assert "+AAPL costs 192.0" in result.output
    assert (tmp_path / "runs.txt").read_text() == "3"


def test_a_test_file_is_repeated_too_and_the_busy_runs_have_every_core_busy(tmp_path: Path) -> None:
    path = tmp_path / "test_cores.py"
    path.write_text(
        "import os\nfrom pathlib import Path\n\nimport psutil\n\n"
        "def test_cores():\n"
        "    family = psutil.Process(os.getppid()).children()\n"
        "    spinning = [it for it in family if 'os.getppid() == parent' in ' '.join(it.cmdline())]\n"
        "    with Path(__file__).with_name('spinning.txt').open('a') as file:\n"
        "        print(len(spinning), file=file)\n"
        "    assert not spinning, 'the machine is busy'\n"
    )
    result = call(path, "--times", 3, "--busy", 2)
    assert result.exit_code == 1
    assert "test_cores.py: 1 of 3 green (1 of 1 quiet, 0 of 2 busy)" in result.output
    assert "First red: run 2, every core busy." in result.output
    assert "AssertionError: the machine is busy" in result.output
    cores = str(os.cpu_count())
    assert (tmp_path / "spinning.txt").read_text().split() == ["0", cores, cores]


def test_runs_that_are_all_green_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")
    result = call(tmp_path / "test_one.py", "--times", 2)
    assert result.exit_code == 0
    assert f"{tmp_path / 'test_one.py'}: 2 of 2 green (2 of 2 quiet)" in result.output


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("missing.ipynb", (), "There is no"),
        ("empty.py", (), "could not be run"),
        ("empty.py", ("--times", 2, "--busy", 3), "no more runs can be busy than there are"),
    ],
)
def test_what_cannot_be_repeated_gets_one_clear_sentence(
    tmp_path: Path, name: str, options: tuple[object, ...], says: str
) -> None:
    (tmp_path / "empty.py").write_text("")
    result = call(tmp_path / name, *options)
    assert result.exit_code in (1, 2)
    assert says in result.output
    assert "Traceback" not in result.output


def test_busy_processes_end_with_the_block() -> None:
    with busy_cores(2) as pids:
        assert all(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_command_ends_no_busy_process_is_left(tmp_path: Path, ending: signal.Signals) -> None:
    path = tmp_path / "test_long.py"
    path.write_text(
        "import os, time\nfrom pathlib import Path\n\n"
        "def test_long():\n"
        "    Path(__file__).with_name('part').write_text(str(os.getpid()))\n"
        "    os.rename(Path(__file__).with_name('part'), Path(__file__).with_name('pid'))\n"
        "    time.sleep(60)\n"
    )
    command = [
        sys.executable,
        "-m",
        "deskbook",
        "notebook",
        "repeat",
        str(path),
        "--times",
        "1",
        "--busy",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as repeat:
        wait_until((tmp_path / "pid").exists)
        running = psutil.Process(int((tmp_path / "pid").read_text()))
        family = psutil.Process(repeat.pid).children()
        assert len(family) == 1 + (os.cpu_count() or 1)
        repeat.send_signal(ending)
        output = repeat.communicate(timeout=30)[0]
    if ending == signal.SIGKILL:
        running.send_signal(signal.SIGINT)  # nobody was left who could end the run itself
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert "Traceback" not in output


def wait_until(happened: Callable[[], bool], limit_s: float = 30.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < ends_at, f"it did not happen within {limit_s} s"
        time.sleep(0.02)
