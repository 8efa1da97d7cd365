"""`deskbook exercise ...`: the same exercises for people who prefer their editor."""

import pytest
from click.testing import CliRunner
from deskbook.practice.checking.client import client
from deskbook.practice.commands import exercise
from deskbook.practice.exercise.definition import load

NAME = "00_warm_up"


@pytest.fixture(scope="module", autouse=True)
def closed_worker():
    """The commands use the worker of their process; here that is the process of the tests."""
    yield
    client.close()


@pytest.fixture
def call(own_work):
    """Return a function that runs a command and returns its exit code and output."""

    def run(*words):
        result = CliRunner().invoke(exercise, words)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return run


def test_from_start_to_pass_in_an_editor(call, own_work):
    answer = own_work / "exercises" / NAME / "answer.py"
    assert call("check", NAME)[0] == 1
    assert call("start", NAME)[0] == 0
    assert answer.read_text() == load(NAME).stub
    code, output = call("check", NAME)
    assert code == 1
    assert "`deskbook exercise check 00_warm_up`" in output
    answer.write_text(load(NAME).stub.replace("None", "PRICES[symbol]"))
    code, output = call("check", NAME)
    assert code == 1
    assert "line 9: return" in output
    assert "`deskbook exercise hint 00_warm_up` shows the next one." in output
    assert "hint 2 of 3" in call("hint", NAME)[1]
    assert "not passed yet" in call("solution", NAME)[1]
    answer.write_text(load(NAME).solution)
    assert call("check", NAME)[0] == 0
    assert "Why it works" in call("solution", NAME)[1]
    assert "[passed] 00_warm_up" in call("list")[1]


def test_start_keeps_an_answer_and_reset_lays_it_aside(call, own_work):
    answer = own_work / "exercises" / NAME / "answer.py"
    call("start", NAME)
    answer.write_text("mine = 1\n")
    assert "was kept" in call("start", NAME)[1]
    assert answer.read_text() == "mine = 1\n"
    call("reset", NAME)
    assert answer.read_text() == load(NAME).stub
    assert answer.with_name("answer.before_reset.py").read_text() == "mine = 1\n"


def test_verify_names_what_does_not_exist(call):
    code, output = call("verify", "99_nothing")
    assert code == 1
    assert "99_nothing" in output


def test_every_command_has_help_with_an_example():
    for command in ("list", "start", "check", "hint", "solution", "reset", "verify", "new"):
        assert "Example: deskbook exercise" in CliRunner().invoke(exercise, [command, "--help"]).output
