import json
import re
from pathlib import Path

from deskbook.course.lessons import read_lessons
from deskbook.course.pages import CourseMap, curriculum_markdown

CHECKOUT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(([^)#\s]+)")


def lesson_file(folder, name, **facts):
    facts = {"minutes": 30, "part": "1 Async", "topics": ["event loop"]} | facts
    cells = [{"cell_type": "markdown", "source": ["# Free the loop\n", "\n", "Text."]}]
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells, "metadata": {"deskbook": facts}}))


def test_the_curriculum_is_what_the_lessons_say():
    assert (CHECKOUT / "notebooks" / "README.md").read_text() == curriculum_markdown(read_lessons()), (
        "notebooks/README.md is out of date: deskbook course write"
    )


def test_every_link_of_the_written_pages_leads_somewhere():
    for page in ("README.md", "CONTRIBUTING.md", "notebooks/README.md"):
        path = CHECKOUT / page
        targets = [it for it in LINK.findall(path.read_text()) if "://" not in it]
        assert targets
        assert [it for it in targets if not (path.parent / it).exists()] == []


def test_the_map_shows_the_lessons_that_exist_and_nothing_else(tmp_path):
    lesson_file(tmp_path, "11_free_the_loop")
    lesson_file(tmp_path, "41_see_a_race", part="4 Races", minutes=45)
    (tmp_path / "helper.ipynb").write_text("{}")
    shown = CourseMap(read_lessons(tmp_path))
    assert repr(shown).splitlines() == [
        "1 Async",
        "  11_free_the_loop  30 min  Free the loop",
        "4 Races",
        "  41_see_a_race  45 min  Free the loop",
    ]
    assert shown._repr_html_().count("<a href=") == 2


def test_text_of_a_lesson_cannot_break_the_table(tmp_path):
    lesson_file(tmp_path, "11_free_the_loop", topics=["<script>alert(1)</script>"])
    assert "<script>" not in CourseMap(read_lessons(tmp_path))._repr_html_()
