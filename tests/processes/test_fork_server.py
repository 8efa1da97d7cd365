"""A forked process is what a fresh interpreter would be, and its end is told, however it comes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from deskbook.processes.fork_server import ForkServer
from deskbook.processes.forked_process import ForkedProcess, ForkServerError

JOBS = """
import json, os, random, signal, sys, time

def tell():
    print(json.dumps({
        "argv": sys.argv, "cwd": os.getcwd(), "session": os.getsid(0), "random": random.random(),
        "pid": os.getpid(), "input": sys.stdin.readline(), "price": os.environ.get("PRICE"),
        "home": os.environ.get("HOME"), "path": sys.path[:2],
        "interrupt": str(signal.getsignal(signal.SIGINT)),
        "warm": "decimal" in sys.modules, "open": [
            os.readlink(link) for link in map("/proc/self/fd/{}".format, range(3, 100))
            if os.path.lexists(link) and ".so" not in os.readlink(link)
        ],
    }))
    print("said on stderr", file=sys.stderr)

def leave():
    sys.exit(7)

def fail():
    raise ValueError("no price")

def serve():
    sys.stdin.read()
"""


ONE_FORK_ALONE = """
import os

fork, forks = os.fork, []

def one_fork():
    forks.append(1)
    if len(forks) > 1:
        raise OSError(12, "no memory")
    return fork()

os.fork = one_fork
"""
MODULES = ["decimal", "a_module_that_is_not_there"]


@pytest.fixture
def log() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    folder.joinpath("fork_jobs.py").write_text(JOBS)
    return folder


@pytest.fixture
def start(jobs: Path, log: IO[bytes]) -> Iterator[Any]:
    server = ForkServer(*MODULES)
    started: list[ForkedProcess] = []

    def start(function: str, *arguments: str, **variables: str) -> ForkedProcess:
        environment = {**os.environ, "PYTHONPATH": str(jobs), **variables}
        process = server.start(f"fork_jobs:{function}", arguments, environment=environment, log=log)
        started.append(process)
        return process

    start.server = server  # type: ignore[attr-defined]
    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        process.wait(20)
    server.close()
    assert not [it for it in psutil.Process().children() if it.cmdline()[-2:] == MODULES]


def said_by(process: ForkedProcess) -> dict[str, Any]:
    process.stdin.write(b"202.91\n")
    answer = dict(json.loads(process.stdout.read()))
    assert process.wait(20) == 0
    return answer


def test_it_has_what_it_was_given_and_nothing_else(start: Any, jobs: Path, log: IO[bytes]) -> None:
    process = start("tell", "AAPL", PRICE="202.91")
    said = said_by(process)
    assert said["argv"] == ["fork_jobs", "AAPL"]
    assert said["input"] == "202.91\n"
    assert (said["price"], said["home"]) == ("202.91", os.environ.get("HOME"))
    assert said["cwd"] == str(Path.cwd())
    assert said["path"][0] == str(jobs)
    assert said["pid"] == said["session"] == process.pid != os.getpid()
    assert said["warm"]
    assert "default_int_handler" in said["interrupt"]
    # Newer libffi keeps its own file open where ctypes is imported: nobody has handed that on.
    assert said["open"] == []
    log.seek(0)
    assert log.read() == b"said on stderr\n"


def test_variables_and_chance_are_of_one_process_alone(start: Any) -> None:
    first, second = said_by(start("tell", PRICE="1")), said_by(start("tell"))
    assert (first["price"], second["price"]) == ("1", None)
    assert first["random"] != second["random"]


def test_a_long_order_arrives_whole_while_other_forks_end(start: Any) -> None:
    price = "9" * 600_000  # more than a socket holds
    for _ in range(20):
        ending = start("leave")
        assert said_by(start("tell", PRICE=price))["price"] == price
        assert ending.wait(20) == 7


@pytest.mark.parametrize(("function", "code"), [("leave", 7), ("fail", 1)])
def test_its_end_is_told(start: Any, log: IO[bytes], function: str, code: int) -> None:
    process = start(function)
    assert process.wait(20) == process.poll() == code
    log.seek(0)
    assert (b"ValueError: no price" in log.read()) == (function == "fail")


def test_a_killed_one_is_told_like_any_other_and_its_number_is_free(start: Any) -> None:
    process = start("serve")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    process.kill_group()
    assert process.wait(20) == -signal.SIGKILL
    assert not psutil.pid_exists(process.pid)
    process.kill_group()


def test_many_at_once_from_many_threads_are_not_mixed_up(start: Any) -> None:
    said: dict[str, Any] = {}
    together = threading.Barrier(8)

    def one(symbol: str) -> None:
        together.wait()
        said[symbol] = said_by(start("tell", symbol, PRICE=symbol))

    threads = [threading.Thread(target=one, args=(f"S{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {symbol: (it["argv"][1], it["price"]) for symbol, it in said.items()} == {
        f"S{number}": (f"S{number}", f"S{number}") for number in range(8)
    }
    assert len({it["pid"] for it in said.values()}) == 8


def test_forks_go_on_without_their_server_and_the_next_start_makes_a_new_one(start: Any) -> None:
    first = start("serve")
    assert psutil.pid_exists(first.pid)
    start.server.close()
    assert psutil.pid_exists(first.pid)
    assert said_by(start("tell"))["warm"]


def test_a_killed_server_takes_its_forks_along_and_the_next_start_makes_a_new_one(start: Any) -> None:
    first = start("serve")
    server = psutil.Process(first.pid).parent()
    assert server is not None
    server.kill()
    assert first.wait(20) == -signal.SIGKILL
    assert said_by(start("tell"))["warm"]


def test_a_server_that_cannot_start_is_one_sentence(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(ForkServerError, match="before it had started a process"):
            _ = start("tell").pid  # it dies before the order is sent, or after
    assert said_by(start("tell"))["warm"]


def test_where_no_process_can_be_made_the_log_says_why_and_the_others_go_on(
    jobs: Path, log: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.joinpath("one_fork_alone.py").write_text(ONE_FORK_ALONE)
    monkeypatch.setenv("PYTHONPATH", str(jobs))
    server = ForkServer("one_fork_alone")
    first, second = (
        server.start("fork_jobs:serve", [], environment=dict(os.environ), log=log) for _ in range(2)
    )
    assert second.wait(20) == 1
    with pytest.raises(ForkServerError):
        _ = second.pid
    log.seek(0)
    assert log.read() == b"No process could be forked: no memory.\n"
    assert first.poll() is None
    for process in (first, second):
        process.stdin.close()
        process.stdout.close()
    assert first.wait(20) == 0
    server.close()


def test_only_what_a_fork_can_follow_is_forked(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server: ForkServer = start.server
    environment = dict(os.environ)
    assert server.can_start({**environment, "PRICE": "1", "PYTHONPATH": "/elsewhere"})
    assert not server.can_start({**environment, "PYTHONHASHSEED": "1"})
    start("tell")
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")  # in this process, after the start of the server
    assert not server.can_start(dict(os.environ))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not server.can_start(environment)


OWNER = """
import os, sys, tempfile
from deskbook.processes.fork_server import ForkServer
server = ForkServer()
process = server.start("fork_jobs:serve", [], environment={**os.environ, "PYTHONPATH": sys.argv[1]},
                       log=tempfile.TemporaryFile())
print(process.pid, server._child.pid, flush=True)
if sys.argv[2] == "stay":
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["stay", "leave"])
def test_nothing_outlives_its_owner(jobs: Path, end: str) -> None:
    command = [sys.executable, "-c", OWNER, str(jobs), end]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        if end == "stay":
            assert all(psutil.pid_exists(pid) for pid in pids)
            owner.kill()
    assert len(pids) == 2
    family = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):  # gone already
            family.append(psutil.Process(pid))
    _, alive = psutil.wait_procs(family, 20)
    assert not alive
