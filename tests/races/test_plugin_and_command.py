"""The pytest plugin and `deskbook explore`, each in a process of its own, as a team would use them."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

#: Plain ASGI: a process that imports FastAPI takes longer to start than these tests to run.
SERVICE = """
    import asyncio
    from types import SimpleNamespace

    class Desk:
        def __init__(self, lock):
            self.state = SimpleNamespace(balance=100)
            self.lock = lock

        async def __call__(self, scope, receive, send):
            assert scope["type"] == "http"
            if scope["path"] == "/safe":
                async with self.lock:
                    left = await self.withdraw(60)
            else:
                left = await self.withdraw(60)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(left).encode()})

        async def withdraw(self, amount):
            balance = self.state.balance
            await asyncio.sleep(0)
            self.state.balance = balance - amount
            return self.state.balance

    def create_app():
        return Desk(asyncio.Lock())

    def check(app, responses):
        assert app.state.balance == 100 - 60 * len(responses), f"the balance is {app.state.balance}"
"""

TESTS = """
    import pytest
    from deskbook.races import post
    from service import check, create_app

    RACY = {name: post("/withdraw") for name in "AB"}
    SAFE = {name: post("/safe") for name in "AB"}

    def test_safe(explore):
        assert explore(create_app, SAFE, invariant=check).verdict == "exhausted"

    def test_racy(explore):
        explore(create_app, RACY, invariant=check)

    @pytest.mark.interleavings(bound=0)
    def test_racy_without_preemptions(explore):
        assert explore(create_app, RACY, invariant=check).verdict == "bounded"
"""


def run(folder, *command):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def write(folder, name, text):
    (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")


def pytest_in(folder, *options):
    quiet = ("-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio")
    return run(folder, sys.executable, "-m", "pytest", *quiet, *options)


def test_the_fixture_shows_the_timeline_and_replays(tmp_path):
    write(tmp_path, "service.py", SERVICE)
    write(tmp_path, "test_service.py", TESTS)
    found = pytest_in(tmp_path)
    assert "1 failed, 2 passed" in found.stdout, found.stdout
    assert "schedule: A B" in found.stdout
    assert "invariant: the balance is 40" in found.stdout
    again = pytest_in(tmp_path, "-k", "racy and not without", "--replay-schedule", "A B2 A")
    assert "invariant: the balance is 40" in again.stdout
    other = pytest_in(tmp_path, "-k", "racy and not without", "--replay-schedule", "A2 B2")
    assert "1 passed" in other.stdout, other.stdout


def test_the_plugin_imports_nothing_before_it_is_used(tmp_path):
    write(
        tmp_path,
        "test_nothing.py",
        """
        import sys

        def test_nothing():
            assert "deskbook.races.pytest_plugin" in sys.modules
            assert "deskbook.races.loop" not in sys.modules
            assert "httpx" not in sys.modules
    """,
    )
    assert "1 passed" in pytest_in(tmp_path, "-p", "no:anyio").stdout


def explore_command(folder, *arguments):
    return run(folder, str(Path(sys.executable).with_name("deskbook")), "explore", *arguments)


def test_the_command_writes_a_picture_and_a_test_that_fails_until_the_race_is_fixed(tmp_path):
    write(tmp_path, "service.py", SERVICE)
    write(tmp_path, "A.http", "POST http://localhost/withdraw?amount=60\n")
    write(tmp_path, "B.http", "# the same\nPOST /withdraw?amount=60 HTTP/1.1\nAccept: application/json\n")
    found = explore_command(tmp_path, "service:create_app", "A.http", "B.http")
    assert found.returncode == 1, found.stderr
    assert "not serializable" in found.stdout
    assert (tmp_path / "race.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "1 failed" in pytest_in(tmp_path, "test_race.py").stdout
    rule = ("--invariant", "service:check")
    with_rule = explore_command(tmp_path, "service:create_app", "A.http", "B.http", *rule)
    assert "invariant: the balance is 40" in with_rule.stdout
    assert "2 failed" in pytest_in(tmp_path, "test_race.py").stdout
    write(tmp_path, "service.py", SERVICE.replace("await asyncio.sleep(0)", "pass"))
    assert "2 passed" in pytest_in(tmp_path, "test_race.py").stdout


def test_the_command_accepts_a_service_without_a_race(tmp_path):
    write(tmp_path, "service.py", SERVICE)
    write(tmp_path, "A.http", "POST /safe?amount=60\n")
    write(tmp_path, "B.http", "POST /safe?amount=60\n")
    found = explore_command(tmp_path, "service:create_app", "A.http", "B.http")
    assert found.returncode == 0
    assert found.stdout.startswith("exhausted")


def test_the_command_says_what_is_wrong_in_one_sentence(tmp_path):
    write(tmp_path, "A.http", "\n")
    for arguments, message in [
        (("service", "A.http"), "must be MODULE:NAME"),
        (("nowhere:create_app", "A.http"), "cannot import 'nowhere'"),
        (("json:nothing", "A.http"), "json has no function 'nothing'"),
        (("json:loads", "missing.http"), "there is no file missing.http"),
        (("json:loads", "A.http"), "A.http holds no request"),
    ]:
        found = explore_command(tmp_path, *arguments)
        assert found.returncode == 1
        assert message in found.stderr
        assert "Traceback" not in found.stderr
