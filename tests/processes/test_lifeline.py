"""A process ends with the one that started it, and what a killed one has left is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from deskbook.processes.leftovers import make_own_folder

SLEEPER = """
import signal, subprocess, sys, time
if sys.argv[1:] == ["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""

PARENT = """
import signal, subprocess, sys
from deskbook.processes.lifeline import end_with_parent
command = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(command, preexec_fn=end_with_parent(signal.SIGKILL))
print(child.pid, flush=True)
sys.stdin.read()
"""


def gone(pids: list[int], within_s: float = 20) -> bool:
    """Say whether the processes end in time; what does not is killed."""
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], within_s)
    for process in alive:
        process.kill()
    return not alive


@pytest.mark.parametrize("how", ["willing", "stubborn"])
def test_a_module_ends_when_its_stdin_does_with_what_it_has_started(tmp_path: Path, how: str) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    runner = subprocess.Popen(
        [sys.executable, "-m", "deskbook.processes.module_runner", "sleeper", how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        start_new_session=True,
    )
    assert runner.stdin is not None
    assert runner.stdout is not None
    child = int(runner.stdout.readline())
    runner.stdin.close()
    # One that listens ends by SIGTERM and sees to its children itself; the other one is killed with them.
    assert runner.wait(20) == (-signal.SIGKILL if how == "stubborn" else -signal.SIGTERM)
    runner.stdout.close()
    if how == "stubborn":
        assert gone([child])
    else:
        os.kill(child, signal.SIGKILL)


def test_a_child_ends_with_a_killed_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
    assert gone([child])


def test_the_next_owner_of_a_folder_removes_those_of_the_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, strange = tmp_path / f"desk-test-{dead.pid}-x", tmp_path / "desk-test-notes"
    left.mkdir()
    strange.mkdir()
    first = make_own_folder("desk-test-")
    assert first.name.startswith(f"desk-test-{os.getpid()}-")
    assert make_own_folder("desk-test-") != first
    assert (left.exists(), strange.exists(), first.exists()) == (False, True, True)
