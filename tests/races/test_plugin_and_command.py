"""The pytest plugin and `deskbook explore`, as a team would use them.

Each is started as a process of its own where the start matters. The other runs are made inside of this
process, by the tools that pytest and click bring for that: a start takes longer than what is tested.
"""

import importlib.metadata
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner
from deskbook.races.commands import explore

pytest_plugins = ["pytester"]

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


QUIET = ("-q", "-W", "error", "-p", "no:cacheprovider", "-p", "deskbook_races")


def run(folder, *command):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    # The course brings plugins that take seconds to import (nbval builds a grammar of addresses); a team that
    # installs the explorer alone has none of them.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def write(folder, name, text):
    (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")


def pytest_in(folder, *options):
    return run(folder, sys.executable, "-m", "pytest", *QUIET, *options)


@pytest.fixture
def team(pytester, monkeypatch):
    """An empty folder, and pytest and the command inside of this process; what they import is forgotten."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.syspath_prepend(pytester.path)

    class Team:
        folder = pytester.path

        def pytest(self, *options):
            return str(pytester.runpytest_inprocess(*QUIET, *options).stdout)

        def explore(self, *arguments):
            monkeypatch.delitem(sys.modules, "service", raising=False)
            found = CliRunner().invoke(explore, arguments)
            monkeypatch.delitem(sys.modules, "service", raising=False)
            return found

    return Team()


def explore_command(folder, *arguments):
    return run(folder, str(Path(sys.executable).with_name("deskbook")), "explore", *arguments)


def test_pytest_finds_the_plugin_by_itself():
    """The entry point is what pytest loads; `-p` in the other tests goes through it by its name too."""
    (found,) = importlib.metadata.entry_points(group="pytest11", name="deskbook_races")
    assert found.value == "deskbook.races.pytest_plugin"


def test_the_fixture_shows_the_timeline(tmp_path):
    write(tmp_path, "service.py", SERVICE)
    write(tmp_path, "test_service.py", TESTS)
    found = pytest_in(tmp_path)
    assert "1 failed, 2 passed" in found.stdout, found.stdout
    assert "schedule: A B" in found.stdout
    assert "invariant: the balance is 40" in found.stdout


def test_the_option_replays_one_schedule(team):
    write(team.folder, "service.py", SERVICE)
    write(team.folder, "test_service.py", TESTS)
    again = team.pytest("-k", "racy and not without", "--replay-schedule", "A B2 A")
    assert "invariant: the balance is 40" in again
    assert "1 failed" in again
    other = team.pytest("-k", "racy and not without", "--replay-schedule", "A2 B2")
    assert "1 passed" in other, other


def test_the_plugin_imports_nothing_before_it_is_used(tmp_path):
    write(
        tmp_path,
        "test_nothing.py",
        """
        import sys

        def test_nothing():
            assert "deskbook.races.pytest_plugin" in sys.modules
            assert "deskbook.races._loop" not in sys.modules
            assert "httpx" not in sys.modules
    """,
    )
    assert "1 passed" in pytest_in(tmp_path).stdout


def test_the_command_writes_a_picture_and_a_test_that_fails_until_the_race_is_fixed(team):
    write(team.folder, "service.py", SERVICE)
    write(team.folder, "A.http", "POST http://localhost/withdraw?amount=60\n")
    write(team.folder, "B.http", "# the same\nPOST /withdraw?amount=60 HTTP/1.1\nAccept: application/json\n")
    found = explore_command(team.folder, "service:create_app", "A.http", "B.http")
    assert found.returncode == 1, found.stderr
    assert "not serializable" in found.stdout
    assert (team.folder / "race.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "1 failed" in team.pytest("test_race.py")
    with_rule = team.explore("service:create_app", "A.http", "B.http", "--invariant", "service:check")
    assert with_rule.exit_code == 1
    assert "invariant: the balance is 40" in with_rule.output
    assert "2 failed" in team.pytest("test_race.py")
    write(team.folder, "service.py", SERVICE.replace("await asyncio.sleep(0)", "pass"))
    assert "2 passed" in team.pytest("test_race.py")


def test_the_command_accepts_a_service_without_a_race(team):
    write(team.folder, "service.py", SERVICE)
    write(team.folder, "A.http", "POST /safe?amount=60\n")
    write(team.folder, "B.http", "POST /safe?amount=60\n")
    found = team.explore("service:create_app", "A.http", "B.http")
    assert found.exit_code == 0
    assert found.output.startswith("A alone, POST /safe?amount=60: 200 40")
    assert "A then B: A: 200 40; B: 200 -20" in found.output
    assert "\n\nexhausted: all " in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("service", "A.http"), "must be MODULE:NAME"),
        (("nowhere:create_app", "A.http"), "cannot import 'nowhere'"),
        (("json:nothing", "A.http"), "json has no function 'nothing'"),
        (("json:loads", "missing.http"), "there is no file missing.http"),
        (("json:loads", "A.http"), "A.http holds no request"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_sentence(team, arguments, message):
    write(team.folder, "A.http", "\n")
    found = team.explore(*arguments)
    assert found.exit_code == 2  # 1 is a race
    assert message in found.stderr
    assert isinstance(found.exception, SystemExit)  # anything else would show as a traceback


def test_the_process_shows_the_sentence_and_no_traceback(tmp_path):
    found = explore_command(tmp_path, "nowhere:create_app", "A.http")
    assert found.returncode == 2
    assert found.stderr.startswith("Error: cannot import 'nowhere'")
    assert "Traceback" not in found.stderr
