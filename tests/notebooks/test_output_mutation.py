"""The output-mutation run and its closing lines: every kind of change is tried, each survivor explained."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from deskbook.authoring import sanitize as sanitize_module
from deskbook.authoring.comparison import CellVerdict, Survivor, mutate_cell
from deskbook.authoring.mutations import Mutant, mutants_of, text_mutants
from deskbook.authoring.sanitize import sanitize, sanitize_patterns
from deskbook.authoring.strict_run import strict_pytest
from deskbook.authoring.summary import NotebookFigures, Summary
from nbval.plugin import IPyNbCell

new_output = nbformat.v4.new_output


class ExecutedCell:
    """An nbval item without pytest around it: nbval's own comparison, and what it needs."""

    compare_outputs = IPyNbCell.compare_outputs
    sanitize = IPyNbCell.sanitize
    format_output_compare = IPyNbCell.format_output_compare

    def __init__(
        self, outputs: list[Any], source: str = "", check: bool = True, patterns: dict[str, str] | None = None
    ):
        skip = ("metadata", "traceback", "prompt_number", "output_type", "name", "execution_count")
        pictures = ("application/vnd.jupyter.widget-view+json", "image/png", "image/jpeg")
        self.parent = SimpleNamespace(skip_compare=skip + pictures, sanitize_patterns=patterns or {})
        self.colors = SimpleNamespace(OKBLUE="", FAIL="", ENDC="")
        self.options = {"check": check, "skip": False, "check_exception": False}
        self.cell = nbformat.v4.new_code_cell(source, outputs=outputs)
        self.test_outputs = nbformat.from_dict([dict(output) for output in outputs])
        self.cell_num = 0
        self.path = Path("lesson.ipynb")


def stream(text: str, name: str = "stdout") -> Any:
    return new_output("stream", name=name, text=text)


def displayed(**data: str) -> Any:
    return new_output("display_data", data={mime.replace("_", "/"): value for mime, value in data.items()})


ERROR = new_output("error", ename="ValueError", evalue="no price for NONE", traceback=["ValueError"])


@pytest.mark.parametrize(
    ("output", "kinds"),
    [
        (
            stream("3 prices\nof 4\n"),
            {"number", "text", "missing line", "extra line", "stream", "missing output"},
        ),
        (stream("late", "stderr"), {"text", "extra line", "stream", "missing output", "extra output"}),
        (displayed(text_html="<b>191.5</b>", text_plain="191.5"), {"HTML", "number", "missing form"}),
        (
            displayed(image_png="iVBORw0=", text_plain="Two bars, one 3 high."),
            {"picture sentence", "missing form"},
        ),
        (ERROR, {"error type", "error text", "missing output", "extra output"}),
    ],
)
def test_every_kind_of_change_is_tried_and_noticed_by_nbval(output: Any, kinds: set[str]) -> None:
    verdict = mutate_cell(ExecutedCell([output]))
    assert kinds <= set(verdict.mutants)
    assert verdict.survivors == []


def test_a_cell_that_prints_nothing_is_tried_with_an_extra_output() -> None:
    verdict = mutate_cell(ExecutedCell([]))
    assert verdict.mutants == Counter({"extra output": 1})
    assert verdict.survivors == []


def test_mutants_of_an_ignored_cell_survive_with_the_reason_that_it_gives() -> None:
    source = "# NBVAL_IGNORE_OUTPUT\n# reason: the port is chosen by the system\nport"
    verdict = mutate_cell(ExecutedCell([stream("port 49152\n")], source, check=False))
    assert len(verdict.survivors) == verdict.mutants.total()
    assert {each.reason for each in verdict.survivors} == {"not compared: the port is chosen by the system"}


def test_a_pattern_that_swallows_a_change_makes_survivors(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = (re.compile(r"\d+ prices"), "PRICES")
    monkeypatch.setattr(sanitize_module, "sanitize_patterns", lambda: (pattern,))
    cell = ExecutedCell([stream("3 prices at the desk\n")], patterns={r"\d+ prices": "PRICES"})
    survivors = mutate_cell(cell).survivors
    assert [each.mutant.change for each in survivors] == ["3 becomes 4"]
    assert survivors[0].reason == "hidden by a pattern of nbval_sanitize.cfg"


def test_what_nbval_cannot_see_is_a_survivor_that_says_so() -> None:
    widget = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
    survivors = mutate_cell(ExecutedCell([widget])).survivors
    assert {each.reason for each in survivors} == {"nbval does not compare this"}
    assert "missing output" in {each.mutant.kind for each in survivors}


def test_the_stored_outputs_are_left_as_they_were() -> None:
    cell = ExecutedCell([stream("3 prices\n"), ERROR])
    before = nbformat.from_dict([dict(output) for output in cell.cell.outputs])
    mutate_cell(cell)
    assert cell.cell.outputs == before
    assert "format_output_compare" not in vars(cell)


def test_every_mutant_of_a_text_differs_from_it() -> None:
    text = "3 of 4 prices\n3 of 4 prices\n\nAAPL 191.5\n"
    assert all(changed != text for _, _, changed in text_mutants(text))


def test_a_large_output_yields_a_bounded_number_of_mutants() -> None:
    rows = "".join(f"row {number}\n" for number in range(10_000))
    assert 50 < len(list(mutants_of([stream(rows)]))) < 100


def test_the_sanitize_file_is_read_as_nbval_reads_it(tmp_path: Path) -> None:
    from nbval.plugin import get_sanitize_patterns

    stored = get_sanitize_patterns(sanitize_module.SANITIZE_FILE.read_text())
    assert [(pattern.pattern, text) for pattern, text in sanitize_patterns()] == stored
    broken = tmp_path / "broken.cfg"
    broken.write_text("regex: port \\d+\n\nreplace: PORT\n")
    with pytest.raises(ValueError, match="1 lines that start with 'regex:' but nbval finds 0 pairs"):
        sanitize_patterns(broken)


def verdict(caught: int, survived: int) -> CellVerdict:
    lost = Survivor(Mutant("number", "3 becomes 4", []), "not compared: the port varies")
    return CellVerdict("lesson.ipynb", 0, Counter(number=caught + survived), [lost] * survived)


def test_a_picture_in_one_long_word_is_sanitized_in_no_time() -> None:
    """A pattern that is tried at each character of a data URL would take minutes here."""
    picture = "<img src='data:image/svg+xml;base64," + "PHN2ZyB4" * 20_000 + "'>"
    started_s = time.perf_counter()
    assert sanitize(picture) == picture
    assert time.perf_counter() - started_s < 5


def test_the_file_name_of_a_cell_is_replaced_wherever_it_stands() -> None:
    for before, after in (("", ""), ('File "', '", line 3'), ("(", ":3)"), ("warned at ", ":3: Warning")):
        assert sanitize(f"{before}/tmp/ipykernel_12/34.py{after}") == f"{before}cell.py{after}"


def test_the_closing_lines_count_what_was_proven() -> None:
    summary = Summary({"lesson.ipynb": NotebookFigures(cells=40, seconds=12.3)}, outputs_compared=39)
    summary.exempt = [("lesson.ipynb cell 7", "the port varies")]
    summary.verdicts = [verdict(caught=99, survived=1)]
    summary.proven["planted holes of nbval closed"] = 17
    text = "\n".join(summary.lines())
    assert "notebooks: 1 executed, 40 code cells, 12.3 s" in text
    assert "40 cells with output, 39 compared (97.5%), 1 exempt" in text
    assert "1 exempt: the port varies" in text
    assert "mutants: 100 changed outputs, 99 noticed (99.0%)" in text
    assert "1 survived: not compared: the port varies" in text
    assert "planted holes of nbval closed: 17 proven" in text
    assert summary.shortfalls() == []
    by_cell = "\n".join(summary.lines(by_cell=True))
    assert "lesson.ipynb: 99 of 100 noticed\n    cell 0: 99 of 100 noticed" in by_cell
    assert "survived: number, 3 becomes 4 (not compared: the port varies)" in by_cell


def test_too_few_comparisons_and_too_many_survivors_are_named() -> None:
    summary = Summary(outputs_compared=96, exempt=[("lesson.ipynb cell 7", "the port varies")] * 4)
    summary.verdicts = [verdict(caught=94, survived=6)]
    compared, noticed = summary.shortfalls()
    assert "Only 96.0% of the cells with output are compared, 97% is the goal" in compared
    assert "Only 94.0% of the changed outputs are noticed, 95% is the goal" in noticed


@pytest.mark.parametrize("filled", [True, False])
def test_a_run_without_notebooks_misses_no_goal(filled: bool) -> None:
    assert Summary(outputs_compared=int(filled)).shortfalls() == []
    assert Summary().lines() == []


def test_every_goal_is_held_where_it_is_met_exactly() -> None:
    summary = Summary(outputs_compared=97, exempt=[("place", "reason")] * 3)
    summary.verdicts = [verdict(caught=95, survived=5)]
    assert summary.shortfalls() == []


TWO_WORKERS = ["-p", "xdist.plugin", "-n", "2", "--dist", "loadfile"]


@pytest.mark.parametrize("workers", [[], TWO_WORKERS], ids=["one process", "two workers"])
def test_a_run_that_compares_too_little_fails_although_every_cell_passes(
    tmp_path: Path, workers: list[str]
) -> None:
    """With workers too: each has a part of the figures, and none may judge or write by itself."""
    source = "# NBVAL_IGNORE_OUTPUT\n# reason: the port is chosen by the system\nport = 49152\nport"
    outputs = [new_output("execute_result", data={"text/plain": "50000"}, execution_count=1)]
    cell = nbformat.v4.new_code_cell(source, execution_count=1, outputs=outputs)
    lessons = [tmp_path / f"{name}.ipynb" for name in ("first", "second")]
    for lesson in lessons:
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), lesson)
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        arguments = ["--survivors", "--color=no", *workers, *map(str, lessons)]
        code = strict_pytest(arguments, output=output.fileno())
    assert code == pytest.ExitCode.TESTS_FAILED
    text = log.read_text()
    assert "2 passed" in text
    assert "notebooks: 2 executed, 2 code cells" in text
    assert "2 exempt: the port is chosen by the system" in text
    assert "Only 0.0% of the cells with output are compared" in text
    line = "survived: number, 50000 becomes 50001 (not compared: the port is chosen by the system)"
    assert text.count(line) == 2
