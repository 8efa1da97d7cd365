"""The page of all patterns is what the files and the lessons say, and its tables name what exists."""

import json
import re
from pathlib import Path

from deskbook.course.lessons import read_lessons
from deskbook.course.pattern_page import NAME, pattern_page, sources
from deskbook.patterns import catalogue
from deskbook.patterns.catalogue import PROBLEMS
from deskbook.patterns.decisions import DECISIONS

PAGE = Path(__file__).parents[2] / "notebooks" / f"{NAME}.ipynb"


def text_of(notebook):
    return "\n".join(source for kind, source in sources(notebook) if kind == "markdown")


def test_the_committed_page_is_what_would_be_written_now():
    committed, now = json.loads(PAGE.read_text(encoding="utf-8")), pattern_page()
    assert sources(committed) == sources(now), "the page is out of date: deskbook course write"
    assert committed["metadata"]["deskbook"] == now["metadata"]["deskbook"]


def test_every_pattern_stands_on_it_once_with_command_limits_and_read_lessons():
    text = text_of(pattern_page())
    for pattern in catalogue():
        assert text.count(f"\n### {pattern.name}\n") == 1
        [entry] = re.findall(rf"\n### {pattern.name}\n(.*?)(?=\n##|\Z)", text, flags=re.DOTALL)
        assert f"`deskbook pattern copy {pattern.name} YOUR_SERVICE --with-test`" in entry
        assert pattern.limits.removeprefix("Limits: ") in entry
        assert pattern.use_when in entry
        for lesson in read_lessons():
            assert (f"({lesson.name}.ipynb)" in entry) == (pattern.name in lesson.patterns)


def test_every_problem_leads_to_a_pattern_that_exists():
    names = {pattern.name for pattern in catalogue()}
    assert {name for answers in PROBLEMS.values() for name in answers} == names


def test_the_tables_name_patterns_that_exist():
    names = {pattern.name for pattern in catalogue()}
    libraries = {"stamina"}
    for decision in DECISIONS:
        for situation, take, because in decision.rows:
            assert situation
            assert because
            quoted = set(re.findall(r"`([a-z_]+)`", take))
            assert quoted - libraries <= names, f"{decision.question} {take}"


def test_links_on_the_page_to_the_page_lead_to_a_heading():
    text = text_of(pattern_page())
    headings = set(re.findall(r"(?m)^### (.+)$", text))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings
