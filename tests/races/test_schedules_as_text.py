"""Schedules and names as people write them."""

import pytest
from deskbook.races import BadSchedule, Diverged, explore, get, replay
from deskbook.races._schedule import Schedule
from race_cases.corpus.racy_app import BOTH, racy


@pytest.mark.parametrize(
    "text", ["A2 B3 A", "A.a B2 cancel(A) clock2 clock+30 app.b", "A", "clock+0.5x2 clock+1e+06 B"]
)
def test_a_schedule_reads_back(text):
    assert str(Schedule.parse(text)) == text


@pytest.mark.parametrize("text", ["A-B", "2A", "cancel()", "A0", "clock+1.2.3"])
def test_a_schedule_that_makes_no_sense_is_refused(text):
    with pytest.raises(BadSchedule, match="cannot read"):
        Schedule.parse(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A2 C", "names 'C', but the requests are A, B"),
        ("ABBA", "did you mean 'A B B A'"),
        ("a b2 a", "did you mean 'A'"),
    ],
)
def test_a_name_that_is_mistyped_is_told_from_code_that_changed(text, sentence):
    with pytest.raises(BadSchedule, match=sentence):
        replay(racy, BOTH, schedule=text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A9 B", "A has ended by then: only B can run; is the schedule too long"),
        ("A clock", "no timer is pending there"),
        ("A.a B", "is the schedule mistyped, or has the code changed since"),
    ],
)
def test_a_step_that_cannot_be_taken_says_why(text, sentence):
    with pytest.raises(Diverged, match=f"(?i){sentence}"):
        replay(racy, BOTH, schedule=text)


@pytest.mark.parametrize("name", ["clock", "A1", "", "a-b"])
async def test_a_name_that_a_schedule_cannot_spell_is_refused(name):
    with pytest.raises(ValueError, match="cannot be used in a schedule"):
        await explore(racy, {name: get("/")})


async def test_a_request_that_is_cancelled_must_exist():
    with pytest.raises(ValueError, match="'C'"):
        await explore(racy, BOTH, cancel=["C"])
