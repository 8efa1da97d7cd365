"""Lines, schedules, choices and reasons are read, never run, and a mistake in them gets a sentence."""

import html
import time

import pytest
from deskbook.practice.exercise.answers import AnswerError, is_unchanged, read_fields
from deskbook.practice.exercise.definition import load
from deskbook.practice.learner.submission import submit
from deskbook.practice.learner.verdict_page import verdict_page

KINDS = {"line": "line", "schedule": "schedule", "choice": ["one lock", "many"], "reason": "reason"}
GOOD = {
    "line": "7",
    "schedule": '"A2 B3 A"',
    "choice": '"many"',
    "reason": '"customers share no account at all"',
}


def written(**changed):
    return "# a comment\n" + "\n".join(f"{name} = {value}" for name, value in (GOOD | changed).items())


def test_fields_are_read():
    assert read_fields(written(), KINDS) == {
        "line": 7,
        "schedule": "A2 B3 A",
        "choice": "many",
        "reason": "customers share no account at all",
    }


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"line": "0"}, "`line` should be a line number, such as 7."),
        ({"line": "True"}, "`line` should be a line number"),
        ({"line": '"7"'}, "`line` should be a line number"),
        ({"line": "int(7)"}, "Write a field and its value"),
        ({"schedule": '""'}, "`schedule` should be steps in quotes"),
        ({"schedule": '"2 times A"'}, "`schedule` should be steps in quotes"),
        ({"choice": '"none"'}, "`choice` should be one of 'one lock', 'many'."),
        ({"reason": '"because"'}, "`reason` should be a sentence in quotes, of 4 words or more."),
        ({"reason": "because so"}, "This line cannot be read."),
        ({"lines": "7"}, "There is no field `lines`."),
    ],
)
def test_a_mistake_gets_a_sentence(changed, said):
    with pytest.raises(AnswerError) as error:
        read_fields(written(**changed), KINDS)
    assert said in str(error.value)


@pytest.mark.parametrize("mistake", ["7 = 7", "lines = 7", "line = 0", "line = int(7)"])
def test_a_mistake_is_told_with_the_line_that_the_editor_shows(mistake):
    with pytest.raises(AnswerError) as error:
        read_fields(f'# a comment\nschedule = "A"\n{mistake}', KINDS, first_line=2)
    assert error.value.line == 4


def test_a_schedule_that_cannot_be_read_is_refused_at_once():
    """Twenty-four letters and a comma would take a careless expression seconds, and forty take it years."""
    started = time.process_time()
    with pytest.raises(AnswerError, match="`schedule` should be steps in quotes"):
        read_fields(written(schedule=f'"{"AB" * 12},"'), KINDS)
    assert time.process_time() - started < 0.2


def test_a_missing_field_is_named():
    with pytest.raises(AnswerError, match="`line` is missing: a line number, such as 7"):
        read_fields('schedule = "A"', KINDS)


def test_fields_are_never_run(worker):
    verdict = submit(load("41_find_the_await"), 'print("run")\nline = 6\nschedule = "A"', worker)
    assert (verdict.state, verdict.output) == ("error", "")
    assert verdict.lines == ((2, 'print("run")'),)


@pytest.mark.parametrize(
    ("source", "unchanged"),
    [
        ("x = 1\n", True),
        ("# mine\nx = 1  # one", True),
        ("x = 2", False),
        ("x = 1\ny = 2", False),
        ("x = ", False),
        ("x = 1\0", False),
        ("", False),
    ],
)
def test_comments_alone_are_no_attempt(source, unchanged):
    assert is_unchanged("x = 1", source) is unchanged


def test_the_same_answer_gives_the_same_page_letter_for_letter(worker):
    exercise = load("41_lost_update")
    wrong = (exercise.folder / "wrong" / "one_lock_for_the_bank.py").read_text()
    right = exercise.stub.replace("balances[name] = balance", "balances[name] = balances[name]")
    for source in (wrong, right, "class Order: pass\nraise ValueError(Order())"):
        pages = [verdict_page(submit(exercise, source, worker))._repr_mimebundle_() for _ in range(2)]
        assert pages[0] == pages[1]
        assert " at 0x" not in str(pages[0])


def test_text_and_html_say_the_same(worker):
    exercise = load("00_warm_up")
    page = verdict_page(submit(exercise, exercise.stub.replace("None", "PRICES[symbol]"), worker))
    for words in (
        "an error in your answer",
        "KeyError",
        "line 10",
        "not with that of another symbol",
        "no such key?",
    ):
        assert words in " ".join(str(page).split())
        assert words in page._repr_html_()


def test_the_picture_of_a_failure_is_an_image_with_its_sentence(worker):
    """GitHub, and a notebook that is not trusted, take `<svg>` out of a page."""
    exercise = load("41_lost_update")
    page = verdict_page(submit(exercise, exercise.stub, worker, even_if_unchanged=True))
    shown = page._repr_html_()
    assert "<svg" not in shown
    assert shown.count('<img src="data:image/svg+xml;base64,') == 1
    assert 'alt="Interleaving of 2 requests' in shown
    for step in str(page).partition("top to bottom:\n")[2].splitlines()[:8]:
        assert html.escape(step.strip()) in shown


def test_an_answer_cannot_write_html_into_its_feedback(worker):
    exercise = load("00_warm_up")
    source = exercise.stub.replace("None", "PRICES['<img src=x onerror=alert(1)>']")
    assert "<img" not in verdict_page(submit(exercise, source + "print('<script>')", worker))._repr_html_()
