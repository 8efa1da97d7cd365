"""One planted notebook for each rule: the clean lesson with one defect, caught by that rule and no other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deskbook.authoring.lint import all_rules, lint_notebook

Notebook = dict[str, Any]
Defect = Callable[[Notebook], None]
Plant = Callable[[Defect], Path]

# Cells of the clean lesson, by position.
OPENING, LOAD, BREAK, RAISES, WHY, PICTURE, TABLE, FIX, GROUP, PROVE, STREAMS, LENGTH = range(12)
LIMITS, RECAP = -4, -2


@dataclass(frozen=True)
class Planted:
    rule: str
    says: str
    defect: Defect


PLANTED: list[Planted] = []


def planted(rule: str, says: str) -> Callable[[Defect], Defect]:
    """Register a defect with the rule that must find it and a part of what the rule must say."""

    def register(defect: Defect) -> Defect:
        PLANTED.append(Planted(rule, says, defect))
        return defect

    return register


# --- the record of one clean run ---


@planted("unexecuted-cell", "was never executed")
def _(notebook: Notebook) -> None:
    notebook["cells"][LENGTH].update(execution_count=None, outputs=[])


@planted("counts-in-order", "the execution count is 9")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["execution_count"] = 9


@planted("result-count", "a result has the count 7")
def _(notebook: Notebook) -> None:
    notebook["cells"][TABLE]["outputs"][0]["execution_count"] = 7


@planted("stale-timing", "execution")
def _(notebook: Notebook) -> None:
    notebook["cells"][LOAD]["metadata"]["execution"] = {"iopub.execute_input": "2026-11-21T10:00:00Z"}


@planted("machine-metadata", "Python 3.11.7")
def _(notebook: Notebook) -> None:
    notebook["metadata"]["language_info"]["version"] = "3.11.7"


@planted("machine-metadata", "'my-env'")
def _(notebook: Notebook) -> None:
    notebook["metadata"]["kernelspec"]["name"] = "my-env"


@planted("duplicate-cell-id", "is used twice")
def _(notebook: Notebook) -> None:
    notebook["cells"][LOAD]["id"] = notebook["cells"][OPENING]["id"]


# --- markers ---


@planted("unknown-marker", "NBVAL_IGNORE_OUTPUT because it varies")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += "\n# NBVAL_IGNORE_OUTPUT because it varies"


@planted("unknown-marker", "NBVAL_CHECK_OUTPT")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += "\n# NBVAL_CHECK_OUTPT"


@planted("unknown-marker", "x = 1  # NBVAL_IGNORE_OUTPUT")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += "\nx = 1  # NBVAL_IGNORE_OUTPUT"


@planted("unknown-marker", "the tag 'nbval-ignore'")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["metadata"]["tags"] = ["nbval-ignore"]


@planted("marker-in-markdown", "markdown")
def _(notebook: Notebook) -> None:
    notebook["cells"][PROVE]["source"] += "\n\n#NBVAL_IGNORE_OUTPUT"


@planted("ignore-without-reason", "no reason is given")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += "\n# NBVAL_IGNORE_OUTPUT"


@planted("ignore-without-reason", "no reason is given")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["metadata"]["tags"] = ["nbval-ignore-output"]


@planted("ignore-without-output", "no output to ignore")
def _(notebook: Notebook) -> None:
    notebook["cells"][LOAD]["source"] += "\n# NBVAL_IGNORE_OUTPUT\n# reason: the port varies"


@planted("skip-marker", "is skipped")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += "\n# NBVAL_SKIP"


@planted("raises-without-error", "stores no error")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["metadata"]["tags"] = ["raises-exception"]


@planted("raises-and-ignore", "nothing is checked")
def _(notebook: Notebook) -> None:
    notebook["cells"][RAISES]["source"] += "\n# NBVAL_IGNORE_OUTPUT\n# reason: the message varies"


@planted("raises-by-tag", "by a comment")
def _(notebook: Notebook) -> None:
    notebook["cells"][RAISES]["metadata"] = {}
    notebook["cells"][RAISES]["source"] += "\n# NBVAL_RAISES_EXCEPTION"


@planted("unannounced-error", "stores the error KeyError")
def _(notebook: Notebook) -> None:
    notebook["cells"][RAISES]["metadata"] = {}


@planted("second-error", "2 errors: KeyError, PendingTaskError")
def _(notebook: Notebook) -> None:
    pending = {"output_type": "error", "ename": "PendingTaskError", "evalue": "1 task", "traceback": []}
    notebook["cells"][RAISES]["outputs"].append(pending)


# --- tasks ---


@planted("hook-not-loaded", "does not load the extension")
def _(notebook: Notebook) -> None:
    notebook["cells"][LOAD]["source"] = "import asyncio\nimport sys"


@planted("dropped-task", "line 3 starts a task")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += '\nasyncio.create_task(price("AAPL"))'


@planted("dropped-task", "line 3 starts a task")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += '\nasyncio.get_running_loop().create_task(price("AAPL"))'


@planted("unstarred-except", "without a star")
def _(notebook: Notebook) -> None:
    cell = notebook["cells"][GROUP]
    cell["source"] = cell["source"].replace("except* KeyError", "except Exception")


@planted("uncaught-group", "ends with ExceptionGroup")
def _(notebook: Notebook) -> None:
    notebook["cells"][RAISES]["outputs"][0]["ename"] = "ExceptionGroup"


@planted("failure-on-stderr", "'Task was destroyed but it is pending'")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["outputs"][1]["text"] = "Task was destroyed but it is pending!\n"


@planted("swallowed-app-error", "swallows exceptions")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += "\nhttpx.ASGITransport(app, raise_app_exceptions=False)"


@planted("broken-code", "cannot parse")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += "\nprice = = 1"


# --- style ---


@planted("long-cell", "26 lines, 25 are allowed")
def _(notebook: Notebook) -> None:
    notebook["cells"][GROUP]["source"] = "\n".join(f"price_{n} = {n}" for n in range(26))


@planted("median-cell", "the median code cell has 9 lines")
def _(notebook: Notebook) -> None:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            missing = 9 - len(cell["source"].splitlines())
            cell["source"] += "\nlen(prices)" * missing


@planted("banned-word", "the text says simply, easy")
def _(notebook: Notebook) -> None:
    notebook["cells"][WHY]["source"] += " Simply read `just this` sentence: it is easy."


@planted("code-without-words", "fourth code cell in a row")
def _(notebook: Notebook) -> None:
    for position in (FIX, PROVE):
        notebook["cells"][position]["cell_type"] = "raw"
    for position in (FIX, PROVE):
        notebook["cells"][WHY]["source"] += "\n\n" + notebook["cells"][position]["source"]
    notebook["cells"][FIX], notebook["cells"][PROVE] = {"x": 0}, {"x": 0}
    notebook["cells"] = [cell for cell in notebook["cells"] if "x" not in cell]


@planted("prose-number", "17, 2,000 stands in the text")
def _(notebook: Notebook) -> None:
    notebook["cells"][WHY]["source"] += " The desk is asked 17 times, and 2,000 times in RFC 9457."


@planted("prose-number", "0.5 stands in the text")
def _(notebook: Notebook) -> None:
    """The number of a cell further up is out of sight, and the bytes of a picture are no text."""
    notebook["cells"][LOAD]["source"] += "\nhalf = 0.5"
    notebook["cells"][TABLE]["outputs"][0]["data"]["text/html"] = ["<table width='0.5'></table>"]
    notebook["cells"][FIX]["source"] += " It waits 0.5 seconds."


# --- metadata ---


@planted("lesson-metadata", "has no metadata")
def _(notebook: Notebook) -> None:
    del notebook["metadata"]["deskbook"]
    for cell in notebook["cells"]:
        cell["metadata"].pop("deskbook", None)


@planted("lesson-metadata", "`minutes` is '6'")
def _(notebook: Notebook) -> None:
    notebook["metadata"]["deskbook"]["minutes"] = "6"
    for cell in notebook["cells"]:
        cell["metadata"].pop("deskbook", None)


@planted("lesson-metadata", "`goals` must be three texts")
def _(notebook: Notebook) -> None:
    notebook["metadata"]["deskbook"]["goals"].pop()


@planted("lesson-metadata", "unknown keys: pattern")
def _(notebook: Notebook) -> None:
    notebook["metadata"]["deskbook"]["pattern"] = ["loop_lag"]


@planted("metadata-target", "there is no pattern 'no_such_pattern'")
def _(notebook: Notebook) -> None:
    notebook["metadata"]["deskbook"]["patterns"] = ["no_such_pattern"]


@planted("metadata-target", "there is no exercise '99_nothing'")
def _(notebook: Notebook) -> None:
    notebook["metadata"]["deskbook"]["exercises"] = ["99_nothing"]


@planted("cell-metadata", "`note` needs the texts")
def _(notebook: Notebook) -> None:
    del notebook["cells"][BREAK]["metadata"]["deskbook"]["note"]["expect"]


@planted("cell-metadata", "unknown keys: notes")
def _(notebook: Notebook) -> None:
    notebook["cells"][WHY]["metadata"]["deskbook"] = {"notes": {}}


@planted("minutes-add-up", "the cells take 7 minutes, the notebook says 6")
def _(notebook: Notebook) -> None:
    notebook["cells"][BREAK]["metadata"]["deskbook"]["minutes"] = 3


# --- outputs ---


@planted("picture-sentence", "'<Figure size 640x480>'")
def _(notebook: Notebook) -> None:
    notebook["cells"][PICTURE]["outputs"][0]["data"]["text/plain"] = "<Figure size 640x480>"


@planted("nothing-to-compare", "widget-view+json")
def _(notebook: Notebook) -> None:
    notebook["cells"][TABLE]["outputs"][0]["data"] = {"application/vnd.jupyter.widget-view+json": {}}


@planted("machine-path", "the path '/home/ada'")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["outputs"][0]["text"] = "saved to /home/ada/prices.csv\n"


@planted("machine-path", "the path '/tmp/tmp1a2b'")
def _(notebook: Notebook) -> None:
    notebook["cells"][TABLE]["outputs"][0]["data"]["text/html"] = "<p>/tmp/tmp1a2b</p>"


@planted("memory-address", "0x7f3e5c0d1e80")
def _(notebook: Notebook) -> None:
    notebook["cells"][TABLE]["outputs"][0]["data"]["text/plain"] = "<Table object at 0x7f3e5c0d1e80>"


@planted("large-output", "take 400 kB")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["outputs"][0]["text"] = "price " * 66_667


@planted("external-request", "cdn.example.com")
def _(notebook: Notebook) -> None:
    page = '<script src="https://cdn.example.com/plot.js"></script>'
    notebook["cells"][TABLE]["outputs"][0]["data"]["text/html"] = page


# --- grammar and links ---


@planted("one-title", "2 titles")
def _(notebook: Notebook) -> None:
    notebook["cells"][WHY]["source"] += "\n\n# Another title"


@planted("lesson-sections", "sections are missing: See why")
def _(notebook: Notebook) -> None:
    notebook["cells"][WHY]["source"] = "A picture says in words what it shows. What does it show?"


@planted("lesson-sections", "the section 'Background' is not part of the grammar")
def _(notebook: Notebook) -> None:
    notebook["cells"][WHY]["source"] += "\n\n## Background"


@planted("lesson-sections", "in the order Break it, Fix it, See why")
def _(notebook: Notebook) -> None:
    cells = notebook["cells"]
    cells[WHY]["source"], cells[FIX]["source"] = cells[FIX]["source"], cells[WHY]["source"]
    cells[WHY]["source"] += " What does the picture show?"


@planted("lesson-opening", "lacks **In a hurry**")
def _(notebook: Notebook) -> None:
    cell = notebook["cells"][OPENING]
    cell["source"] = cell["source"].replace("**In a hurry:**", "**Quick:**")


@planted("lesson-opening", "is no bullet of the opening")
def _(notebook: Notebook) -> None:
    notebook["metadata"]["deskbook"]["goals"][0] = "start tasks"


@planted("lesson-recap", "the recap has 2 bullets")
def _(notebook: Notebook) -> None:
    cell = notebook["cells"][RECAP]
    cell["source"] = cell["source"].rsplit("\n", 1)[0]


@planted("broken-link", "'missing.ipynb#part' leads nowhere")
def _(notebook: Notebook) -> None:
    notebook["cells"][BREAK]["source"] += " See [the other](missing.ipynb#part)."


# --- length and teaching ---


@planted("too-many-cells", "has 101 cells, 100 are allowed")
def _(notebook: Notebook) -> None:
    cells = notebook["cells"]
    more = [{"cell_type": "raw", "id": f"raw-{n}", "metadata": {}, "source": ""} for n in range(101)]
    cells += more[: 101 - len(cells)]


@planted("computed-minutes", "it says 30")
def _(notebook: Notebook) -> None:
    notebook["metadata"]["deskbook"]["minutes"] = 30
    notebook["cells"][OPENING]["source"] = notebook["cells"][OPENING]["source"].replace("6 min", "30 min")
    for cell in notebook["cells"]:
        cell["metadata"].get("deskbook", {}).pop("minutes", None)


@planted("no-question", "asks nothing before it")
def _(notebook: Notebook) -> None:
    notebook["cells"][WHY]["source"] = notebook["cells"][WHY]["source"].replace("?", ".")


@planted("no-question", "asks nothing before it")
def _(notebook: Notebook) -> None:
    """A question is used up by the picture that answers it."""
    [picture] = copy.deepcopy(notebook["cells"][PICTURE]["outputs"])
    table = notebook["cells"][TABLE]
    table["outputs"] = [picture | {"execution_count": table["execution_count"]}]


@planted("stages-table", "says growth")
def _(notebook: Notebook) -> None:
    notebook["cells"][LIMITS]["source"] = notebook["cells"][LIMITS]["source"].replace("growth", "later")


@planted("bars-on-log-axis", "bars stand on a logarithmic x axis")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += '\naxes.barh(0, 8)\naxes.set_xscale("log")'


@planted("bars-on-log-axis", "bars stand on a logarithmic y axis")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["source"] += "\naxes.hist(latencies, log=True)"


# --- allowances ---


@planted("unused-allowance", "no longer breaks it")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["metadata"]["deskbook"] = {"allow": {"dropped-task": "shown on purpose"}}


@planted("unused-allowance", "which is no rule")
def _(notebook: Notebook) -> None:
    notebook["cells"][STREAMS]["metadata"]["deskbook"] = {"allow": {"droped-task": "shown on purpose"}}


@planted("unused-allowance", "without a reason")
def _(notebook: Notebook) -> None:
    cell = notebook["cells"][STREAMS]
    cell["source"] += '\nasyncio.create_task(price("AAPL"))'
    cell["metadata"]["deskbook"] = {"allow": {"dropped-task": " "}}


@pytest.mark.parametrize("case", PLANTED, ids=lambda case: case.rule)
def test_each_rule_catches_its_planted_notebook_and_no_other_rule_does(
    case: Planted, plant: Plant, record_property: Callable[[str, object], None]
) -> None:
    record_property("proven", "planted notebooks caught by their rule")
    findings = lint_notebook(plant(case.defect))
    assert {finding.rule.name for finding in findings} == {case.rule}
    assert any(case.says in finding.problem for finding in findings), [str(finding) for finding in findings]


def test_the_clean_lesson_breaks_no_rule(plant: Plant) -> None:
    assert lint_notebook(plant(lambda notebook: None)) == []


def test_every_rule_has_a_planted_notebook() -> None:
    assert {case.rule for case in PLANTED} == set(all_rules())


def test_an_allowance_with_a_reason_lets_the_cell_break_that_rule(plant: Plant) -> None:
    def defect(notebook: Notebook) -> None:
        cell = notebook["cells"][STREAMS]
        cell["source"] += '\nasyncio.create_task(price("AAPL"))'
        cell["metadata"]["deskbook"] = {"allow": {"dropped-task": "shown before it is fixed"}}

    assert lint_notebook(plant(defect)) == []


def test_a_number_that_the_reader_sees_may_stand_in_the_text(plant: Plant) -> None:
    def defect(notebook: Notebook) -> None:
        notebook["cells"][WHY]["source"] += " MSFT costs 402.00: see lesson 43, RFC 9457 and [1](#break-it)."
        notebook["cells"][FIX]["source"] += " A missing price is `404` on Python 3.12, and AAPL costs 191.5."
        notebook["cells"][PROVE]["source"] += " 3 of 4 prices are there."

    assert lint_notebook(plant(defect)) == []


def test_a_histogram_may_have_its_latencies_on_a_logarithmic_axis(plant: Plant) -> None:
    def defect(notebook: Notebook) -> None:
        notebook["cells"][STREAMS]["source"] += '\naxes.hist(latencies, bins)\naxes.set_xscale("log")'

    assert lint_notebook(plant(defect)) == []


def test_a_lesson_that_needs_more_cells_says_why_at_the_first_that_is_too_many(plant: Plant) -> None:
    def defect(notebook: Notebook) -> None:
        cells = notebook["cells"]
        cells += [{"cell_type": "raw", "id": f"raw-{n}", "metadata": {}, "source": ""} for n in range(100)]
        cells[100]["metadata"] = {"deskbook": {"allow": {"too-many-cells": "Two halves share this page."}}}

    assert lint_notebook(plant(defect)) == []


def test_every_rule_says_why_and_what_to_do() -> None:
    for rule in all_rules().values():
        assert rule.reason.endswith("."), rule.name
        assert rule.fix.endswith("."), rule.name
