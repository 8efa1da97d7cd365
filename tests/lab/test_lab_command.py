"""`deskbook lab` as a whole: it opens, and however it ends nothing stays behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from deskbook.practice.learner.progress import Progress

DEADLINE_S = 40.0


class Lab:
    """A running `deskbook lab --no-browser`, with folders of its own."""

    def __init__(self, folder, *options, **variables):
        self.folder = folder
        # Servers of its own, also where another test has named some.
        own = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        self.environment = own | {"XDG_RUNTIME_DIR": str(folder), "TMPDIR": str(folder)} | variables
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deskbook", "lab", "--no-browser", *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def address(self):
        """Read its output up to the address of the start page."""
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if match := re.search(r"(http://\S+?/)lab/tree/(\S+)\?token=(\S+)", line):
                return match.groups()
        raise AssertionError("".join(seen))

    def family(self):
        """Every process that it started: the server and its kernels; the supervisor and its servers."""
        names = {str(self.folder)}
        return [
            process
            for process in psutil.process_iter()
            if process.pid != os.getpid() and names & _environment_values(process)
        ]

    def wait_until_all_run(self):
        """Wait for the command, JupyterLab, the kernel, and the supervisor that starts meanwhile."""
        deadline = time.monotonic() + DEADLINE_S
        while len(self.family()) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.family()) >= 4

    def wait_until_gone(self):
        deadline = time.monotonic() + DEADLINE_S
        while (left := self.family()) and time.monotonic() < deadline:
            psutil.wait_procs(left, timeout=0.2)
        assert [" ".join(process.cmdline()) for process in left] == []


def _environment_values(process):
    try:
        return set(process.environ().values())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return set()


def call(address, token, path, data=None):
    request = urllib.request.Request(
        f"{address}{path}", data=data, headers={"Authorization": f"token {token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)


@pytest.fixture
def short_folder():
    """A folder whose path leaves room for a socket's; beside other tests `tmp_path` is too long for that."""
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def lab(short_folder):
    running = Lab(short_folder)
    yield running
    for process in running.family():
        process.kill()
    running.process.stdout.close()
    running.process.wait()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_it_opens_the_start_page_and_however_it_ends_nothing_is_left(lab, ending):
    address, page, token = lab.address()
    assert call(address, token, f"api/contents/{page}?content=0")["type"] == "notebook"
    kernel = call(address, token, "api/kernels", data=b'{"name": "python3"}')
    assert kernel["name"] == "python3"
    lab.wait_until_all_run()
    lab.process.send_signal(ending)
    output = lab.process.stdout.read()
    lab.process.wait(DEADLINE_S)
    lab.wait_until_gone()
    assert "Traceback" not in output
    if ending != signal.SIGKILL:
        assert "Your work is in my-work/." in output
        assert not list(lab.folder.glob("deskbook*"))


def test_a_taken_port_is_one_sentence(short_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lab = Lab(short_folder, "--port", str(taken.getsockname()[1]))
        output, _ = lab.process.communicate(timeout=DEADLINE_S)
    assert lab.process.returncode == 1
    assert "The port is taken by another program." in output
    assert "Traceback" not in output
    lab.wait_until_gone()


def test_lessons_go_where_progress_goes_in_a_shared_checkout(short_folder):
    """Both go into the folder that DESKBOOK_WORK names: `my-work/` would be one for all learners."""
    own = short_folder / "learner"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lab = Lab(short_folder, "--port", str(taken.getsockname()[1]), DESKBOOK_WORK=str(own))
        lab.process.communicate(timeout=DEADLINE_S)
    lab.wait_until_gone()
    assert (own / "notebooks" / "00_start_here.ipynb").is_file()
    assert (own / "exercises" / "00_warm_up" / "exercise.ipynb").is_file()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DESKBOOK_WORK", str(own))
        Progress().note_attempt("00_warm_up", "passed", "")
    assert (own / ".progress.json").is_file()
