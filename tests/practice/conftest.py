"""Exercises made for these tests, and one warm worker for all of them."""

import json

import pytest
from deskbook.practice.checking.client import Client
from deskbook.practice.exercise.definition import read
from deskbook.practice.learner.submission import submit

#: Short, because what never ends takes as long as this.
LIMIT_S = 1.0

CHECKS = '''
def test_it_doubles(answer, evidence):
    """double(2) is 4."""
    evidence.given("2")
    result = answer.double(2)
    evidence.got(result)
    assert result == 4, "This is not the double."


async def test_it_doubles_later(answer):
    """await double_later(2) is 4."""
    assert await answer.double_later(2) == 4
'''

HINTS = """
minutes = 5
stub_fails = "test_it_doubles"
next = "Go on."
limit_s = {limit_s}
{more}
[hints]
test_it_doubles = ["one", "two", "three"]
test_it_doubles_later = ["four", "five", "six"]
"""

STUB = """
def double(number):
    # --- your code ---
    return None
    # --- end ---


async def double_later(number):
    # --- your code ---
    return double(number)
    # --- end ---
"""

RIGHT = STUB.replace("return None", "return 2 * number")

SOLUTION = f'''"""Twice the number.

Multiplying by two gives the double of every number, of negative ones and of zero as well as of the others.
"""
{RIGHT}'''


def write_exercise(folder, *, checks=CHECKS, stub=STUB, solution=SOLUTION, limit_s=2.5, more="", hints=None):
    """Write an exercise that holds, but for what is changed."""
    for inner in ("also_right", "wrong"):
        (folder / inner).mkdir(parents=True)
    cells = [
        {"cell_type": "markdown", "source": "# Double a number", "metadata": {}},
        {"cell_type": "code", "source": f"%%exercise {folder.name}\n{stub.strip()}", "metadata": {}},
    ]
    (folder / "exercise.ipynb").write_text(json.dumps({"cells": cells}))
    (folder / "checks.py").write_text(checks)
    (folder / "solution.py").write_text(solution)
    (folder / "hints.toml").write_text(hints or HINTS.format(limit_s=limit_s, more=more))
    (folder / "also_right/add.py").write_text(RIGHT.replace("2 * number", "number + number"))
    (folder / "also_right/shift.py").write_text(RIGHT.replace("2 * number", "number << 1"))
    wrong = {
        "three_times": ("test_it_doubles", RIGHT.replace("2 *", "3 *")),
        "square_plus_one": ("test_it_doubles", RIGHT.replace("2 * number", "number * number + 1")),
        "not_later": ("test_it_doubles_later", RIGHT.replace("return double(number)", "return number")),
    }
    for name, (check, source) in wrong.items():
        (folder / f"wrong/{name}.py").write_text(f"# rejected by {check}: it is another number\n{source}")
    return read(folder)


@pytest.fixture(scope="session")
def worker():
    """One client for all tests, as in a kernel."""
    client = Client()
    yield client
    client.close()


@pytest.fixture(scope="session")
def doubling(tmp_path_factory):
    """An exercise whose answer doubles a number."""
    return write_exercise(tmp_path_factory.mktemp("exercises") / "90_double", limit_s=LIMIT_S)


@pytest.fixture(scope="session")
def judged(worker, doubling):
    """Return a function that submits an answer to the doubling exercise."""

    def submit_answer(source):
        return submit(doubling, source, worker)

    return submit_answer


@pytest.fixture
def right():
    """The answer that passes."""
    return RIGHT


@pytest.fixture
def own_work(tmp_path, monkeypatch):
    """A my-work folder of this test alone."""
    folder = tmp_path / "my-work"
    monkeypatch.setenv("DESKBOOK_WORK", str(folder))
    return folder


@pytest.fixture(scope="session")
def make_exercise():
    """Return the function that writes an exercise into a folder."""
    return write_exercise
