"""The page of all patterns is what the files and the lessons say, and its tables name what exists."""

import json
import re
from pathlib import Path

from click.testing import CliRunner
from deskbook.checkout import NotACheckoutError
from deskbook.cli import main
from deskbook.course import lessons
from deskbook.patterns import catalogue, commands
from deskbook.patterns.catalogue import PROBLEMS
from deskbook.patterns.decisions import DECISIONS
from deskbook.patterns.index import NAME, index_notebook, sources

PAGE = Path(__file__).parents[2] / "notebooks" / f"{NAME}.ipynb"


def text_of(notebook):
    return "\n".join(source for kind, source in sources(notebook) if kind == "markdown")


def test_the_committed_page_is_what_would_be_written_now():
    committed, now = json.loads(PAGE.read_text(encoding="utf-8")), index_notebook()
    assert sources(committed) == sources(now), "the page is out of date: python -m deskbook.course"
    assert committed["metadata"]["deskbook"] == now["metadata"]["deskbook"]


def test_the_command_writes_and_runs_it_and_outside_of_a_checkout_says_so(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(commands, "root", lambda: tmp_path)
    done = CliRunner().invoke(main, ["pattern", "index"])
    assert done.exit_code == 0, done.output
    page = json.loads((tmp_path / "notebooks" / PAGE.name).read_text(encoding="utf-8"))
    assert page["cells"] == json.loads(PAGE.read_text(encoding="utf-8"))["cells"]

    def nowhere():
        raise NotACheckoutError

    monkeypatch.setattr(commands, "root", nowhere)
    done = CliRunner().invoke(main, ["pattern", "index"])
    assert (done.exit_code, done.output) == (1, f"Error: {NotACheckoutError()}\n")


def test_every_pattern_stands_on_it_once_with_command_limits_and_lessons():
    text = text_of(index_notebook())
    for pattern in catalogue():
        assert text.count(f"\n### {pattern.name}\n") == 1
        [entry] = re.findall(rf"\n### {pattern.name}\n(.*?)(?=\n##|\Z)", text, flags=re.DOTALL)
        assert f"`deskbook pattern copy {pattern.name} YOUR_SERVICE --with-test`" in entry
        assert pattern.limits.removeprefix("Limits: ") in entry
        assert pattern.use_when in entry
        for lesson in lessons():
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
    text = text_of(index_notebook())
    headings = set(re.findall(r"(?m)^### (.+)$", text))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings
