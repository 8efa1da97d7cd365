"""The gate: every exercise of the course holds, and each thing that the gate looks for can close it."""

import shutil

import pytest
from deskbook.authoring.lint import lint_notebook
from deskbook.checkout import exercises_folder
from deskbook.practice.exercise.cases import cases
from deskbook.practice.exercise.definition import names, read
from deskbook.practice.exercise.skeleton import write_skeleton
from deskbook.practice.gate import problems

CHECKS_THAT_ACCEPT_ALL = '''
def test_it_doubles(answer):
    """double(2) is 4."""


def test_it_doubles_later(answer):
    """await double_later(2) is 4."""
'''

#: What is spoilt: file -> (text, its replacement), and what the gate says.
DEFECTS = {
    "a check that accepts all": (
        ("checks.py", None, CHECKS_THAT_ACCEPT_ALL),
        "the stub should be rejected by test_it_doubles, but it passes",
    ),
    "a check too strict": (
        ("checks.py", "assert result == 4", "assert result == 5"),
        "solution.py should pass",
    ),
    "another right answer is refused": (
        ("also_right/add.py", "number + number", "number + 1"),
        "also_right/add.py should pass",
    ),
    "the wrong check rejects": (
        ("wrong/three_times.py", "by test_it_doubles:", "by test_it_doubles_later:"),
        "should be rejected by test_it_doubles_later, but it is wrong at test_it_doubles",
    ),
    "a wrong answer without its reason": (
        ("wrong/three_times.py", "# rejected", "# refused"),
        "wrong/three_times.py: the first line should be",
    ),
    "an unknown check": (
        ("wrong/three_times.py", "by test_it_doubles:", "by test_it_trebles:"),
        "test_it_trebles is named by an answer",
    ),
    "another state": (
        ("wrong/three_times.py", "by test_it_doubles:", "by test_it_doubles (too slow):"),
        "wrong/three_times.py should be too slow, but it is wrong",
    ),
    "two hints": (
        ("hints.toml", '"one", "two", "three"', '"one", "two"'),
        "needs 3 hints for test_it_doubles",
    ),
    "no minutes": (("hints.toml", "minutes = 5", ""), "lacks 'minutes'"),
    "twenty minutes": (("hints.toml", "minutes = 5", "minutes = 20"), "minutes is 20, expected 5 to 15"),
    "no sentence": (("checks.py", '    """double(2) is 4."""\n', ""), "test_it_doubles has no docstring"),
    "no reasoning": (
        ("solution.py", "Multiplying by two gives the double of every number", ""),
        "fewer than 20 words",
    ),
    "drift": (
        ("solution.py", "async def double_later(number)", "async def double_later(value)"),
        "the stub says `async def double_later(number):`",
    ),
    "drift of another right answer": (
        ("also_right/add.py", "def double(number)", "def double(number, more=0)"),
        "the stub says `def double(number):`, which also_right/add.py lacks there",
    ),
    "drift of a wrong answer": (
        ("wrong/not_later.py", "def double(number)", "def double(number, more=0)"),
        "the stub says `def double(number):`, which wrong/not_later.py lacks there",
    ),
    "a stray file": (("notes.txt", None, "x"), "notes.txt does not belong"),
    "broken checks": (("checks.py", "def test_it_doubles(", "def test_it_doubles(("), "checks.py, line"),
    "checks that crash": (
        ("checks.py", None, "import nothing_like_this\n" + CHECKS_THAT_ACCEPT_ALL),
        "are broken",
    ),
}


@pytest.mark.parametrize("name", names())
def test_an_exercise_holds(name, worker, record_property):
    assert problems(exercises_folder() / name, worker) == []
    record_property("proven", "exercises")


@pytest.mark.parametrize("name", names())
def test_the_page_of_an_exercise_holds_the_rules(name):
    assert [str(it) for it in lint_notebook(exercises_folder() / name / "exercise.ipynb")] == []


def test_the_exercise_of_these_tests_holds(doubling, worker):
    assert problems(doubling.folder, worker) == []


@pytest.mark.parametrize(("defect", "said"), DEFECTS.values(), ids=DEFECTS)
def test_the_gate_sees(doubling, worker, tmp_path, defect, said):
    folder = tmp_path / doubling.name
    shutil.copytree(doubling.folder, folder)
    file, old, new = defect
    text = (folder / file).read_text() if old is not None else ""
    assert (old or "") in text
    (folder / file).write_text(text.replace(old, new) if old is not None else new)
    found = problems(folder, worker)
    assert found
    assert said in "\n".join(found)


def test_a_new_exercise_holds_as_it_is_written(worker, tmp_path):
    folder = write_skeleton(tmp_path, "90_new")
    assert problems(folder, worker) == []
    exercise = read(folder)
    assert exercise.stub_fails == "test_what_is_missing_is_named"
    assert len(cases(exercise)) == 1 + 1 + 2 + 3


def test_what_is_still_to_be_done_in_an_exercise_is_listed(worker, tmp_path):
    folder = write_skeleton(tmp_path, "90_new")
    for name in ("solution.py", "hints.toml", "wrong/the_order_is_lost.py"):
        path = folder / name
        path.write_text(path.read_text() + "\n# TO DO: say why\n")
    (folder / "wrong" / "money_is_a_float.py").unlink()
    (folder / "also_right" / "one_loop.py").unlink()
    found = problems(folder, worker)
    unfinished = {problem.split(" ")[0] for problem in found if "is not finished" in problem}
    assert unfinished == {"solution.py", "hints.toml", "wrong/the_order_is_lost.py"}
    assert "wrong/ has 2 answers, 3 are asked for" in found
    assert "also_right/ has 1 answers, 2 are asked for" in found


def test_the_listing_of_find_the_await_is_the_code_that_is_played():
    exercise = read(exercises_folder() / "41_find_the_await")
    page = (exercise.folder / "exercise.ipynb").read_text()
    checks = (exercise.folder / "checks.py").read_text()
    for number in range(1, 10):
        [line] = [it for it in page.splitlines() if it.strip().startswith(f'"{number}  ')]
        code = line.strip().removeprefix(f'"{number}  ').removesuffix('\\n",').replace('\\"', '"')
        assert f"    {code}\n" in checks
