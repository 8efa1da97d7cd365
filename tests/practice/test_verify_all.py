"""`deskbook exercise verify`: many exercises at once, each judged by itself, and broken off at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from click.testing import CliRunner
from deskbook.practice import commands
from deskbook.practice.checking.client import Client
from deskbook.practice.errors import PracticeError
from deskbook.practice.gate import verify_all
from deskbook.practice.learner.submission import submit

FOR_EVER = "import sys\nprint('here', flush=True)\nwhile True: pass"


@pytest.fixture
def two(make_exercise, tmp_path):
    """Two exercises, of which the second takes a wrong answer for a right one."""
    holds = make_exercise(tmp_path / "90_double").folder
    accepts = make_exercise(tmp_path / "91_double").folder
    wrong = accepts / "wrong" / "three_times.py"
    wrong.write_text(wrong.read_text().replace("3 * number", "2 * number"))
    return [holds, accepts]


def test_each_exercise_is_judged_by_itself(two):
    found = {outcome.name: dict(outcome.problems) for outcome in verify_all(two, repeat=2)}
    said = "wrong/three_times.py should be rejected by test_it_doubles, but it passes"
    assert found == {"90_double": {}, "91_double": {said: 2}}


def test_a_line_for_each_and_one_at_the_end(two, monkeypatch):
    monkeypatch.setattr(commands, "exercises_folder", lambda: two[0].parent)
    good = CliRunner().invoke(commands.exercise, ["verify", "90_double"])
    assert good.exit_code == 0
    assert good.output.splitlines()[1].split()[1:] == ["90_double", "holds"]
    assert good.output.splitlines()[-1].startswith("1 exercise holds. ")
    bad = CliRunner().invoke(commands.exercise, ["verify", "90_double", "91_double", "--repeat", "2"])
    assert bad.exit_code == 1
    assert "91_double  does not hold" in bad.output
    assert "but it passes (2 of 2 times)" in bad.output
    assert bad.output.splitlines()[-1].startswith("1 of 2 exercises must be mended, 2 times each. ")


def test_a_check_is_broken_off_from_another_thread(make_exercise, tmp_path):
    exercise = make_exercise(tmp_path / "90_double", limit_s=60)
    client, met = Client(), []

    def wait_for_ever():
        try:
            submit(exercise, FOR_EVER, client)
        except PracticeError as error:
            met.append(str(error))

    thread = threading.Thread(target=wait_for_ever)
    thread.start()
    while not (client._worker and psutil.Process(client._worker.pid).children()):
        assert thread.is_alive(), f"the check ended before it was broken off: {met}"
        time.sleep(0.01)
    worker = psutil.Process(client._worker.pid)
    processes = [worker, *worker.children()]
    started = time.monotonic()
    client.abandon()
    thread.join()
    assert met == ["The check was broken off."]
    assert time.monotonic() - started < 20
    client.close()
    _, left = psutil.wait_procs(processes, timeout=20)
    assert left == []


def test_ctrl_c_ends_verify_and_its_workers(make_exercise, tmp_path):
    folder = make_exercise(tmp_path / "90_double", limit_s=60).folder
    (folder / "solution.py").write_text((folder / "solution.py").read_text() + "\nwhile True: pass\n")
    program = (
        "import sys; from pathlib import Path; from deskbook.practice import commands\n"
        "commands.exercises_folder = lambda: Path(sys.argv[1]); commands.exercise(['verify', '90_double'])\n"
    )
    verify = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with verify:
        ours = psutil.Process(verify.pid)
        while not any(worker.children() for worker in ours.children()):
            assert verify.poll() is None, verify.communicate()
            time.sleep(0.01)
        processes = ours.children(recursive=True)
        os.kill(verify.pid, signal.SIGINT)
        _, error = verify.communicate(timeout=30)
    assert (verify.returncode, error.strip()) == (1, "Aborted!")
    _, left = psutil.wait_procs(processes, timeout=20)
    assert left == []
