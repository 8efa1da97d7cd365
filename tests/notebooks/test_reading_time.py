"""The minutes of a page are computed from what stands on it, and agree with those of its reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from deskbook.authoring.document import Cell, Document
from deskbook.authoring.notebook_file import read_notebook
from deskbook.authoring.reading_time import TOLERANCE, Reading, exercise_minutes

ROOT = Path(__file__).parents[2]

#: Minutes that a reader said a lesson takes, exercises included, when it had the words it has now.
MEASURED = {
    "00_start_here": 19,
    "11_keep_the_event_loop_free": 77,
    "21_validate_at_the_edge": 85,
    "31_cache_in_process": 70,
    "41_see_a_race": 60,
    "43_race_in_the_database": 80,
    "44_make_retries_safe": 70,
    "51_find_the_memory": 50,
}


def markdown(text: str) -> Cell:
    return Cell(1, "markdown", text)


def test_words_are_counted_as_they_are_read() -> None:
    text = (
        "The desk's price is 2,000.50 in [lesson 43](43_race_in_the_database.ipynb).\n\n| a | b |\n|---|---|"
    )
    assert Reading.of_cells([markdown(text)]) == Reading(words=10, code_lines=0, pictures=0)


def test_code_in_cells_in_fences_and_of_shown_sources_counts_as_lines() -> None:
    shown = {"output_type": "execute_result", "data": {"text/markdown": "`a.py`\n```python\nx = 1\n```"}}
    cells = [
        Cell(1, "code", "a = 1\n\nb = 2", outputs=[shown]),
        markdown("Text:\n\n```python\nx = 1\ny = 2\n```"),
    ]
    assert Reading.of_cells(cells) == Reading(words=1, code_lines=2 + 4 + 4, pictures=0)


@pytest.mark.parametrize(
    ("data", "pictures"),
    [
        ({"image/png": "iVBORw0="}, 1),
        ({"text/html": "<div><svg></svg></div>"}, 1),
        ({"text/html": "<b>1</b>"}, 0),
    ],
)
def test_a_picture_is_what_the_reader_sees_as_one(data: dict[str, str], pictures: int) -> None:
    output = {"output_type": "display_data", "data": data}
    assert Reading.of_cells([Cell(1, "code", "", outputs=[output])]).pictures == pictures


def test_minutes_are_the_sum_of_reading_looking_and_exercises() -> None:
    assert Reading(words=650, code_lines=100, pictures=4, exercise_minutes=8).minutes == 10 + 5 + 2 + 8


def test_the_exercises_of_a_lesson_count_with_the_minutes_that_they_state(tmp_path: Path) -> None:
    facts = tmp_path / "exercises" / "12_fan_out" / "hints.toml"
    facts.parent.mkdir(parents=True)
    facts.write_text("minutes = 12\n")
    own = {"deskbook": {"exercises": ["12_fan_out", "12_not_there"]}}
    assert exercise_minutes(Document(tmp_path / "notebooks" / "12_lesson.ipynb", (), own)) == 12


@pytest.mark.parametrize("name", MEASURED)
def test_the_minutes_agree_with_those_of_a_reader(name: str) -> None:
    """Take a lesson off the list when it is rewritten: its reader read another text."""
    path = ROOT / "notebooks" / f"{name}.ipynb"
    reading = Reading.of_document(Document.from_notebook(path, read_notebook(path)))
    assert abs(reading.minutes - MEASURED[name]) <= TOLERANCE * MEASURED[name]
