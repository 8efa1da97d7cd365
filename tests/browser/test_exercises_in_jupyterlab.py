"""An exercise as its learner meets it: the keyboard alone, from the stub over a hint to the pass."""

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from deskbook.practice.exercise.definition import load

CHECKOUT = Path(__file__).parents[2]
SCREENSHOTS = CHECKOUT / ".artifacts" / "screenshots"


@pytest.fixture(scope="module", autouse=True)
def progress_file(tmp_path_factory):
    """The progress of this learner, kept apart from that of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("progress")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DESKBOOK_WORK", str(folder))
        yield folder / ".progress.json"


class Learner:
    """Types into the page of an exercise and reads what appears."""

    def __init__(self, lab_page, name):
        self.name = name
        self.page = lab_page.page
        lab_page.open(f"../exercises/{name}/exercise")
        self.page.keyboard.press("Escape")
        for _ in range(3):
            self.page.keyboard.press("Shift+Enter")

    def answer(self, source):
        """Replace the text of the chosen cell and run it."""
        self.page.keyboard.press("Enter")
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(f"%%exercise {self.name}\n{source}")
        self.page.keyboard.press("Control+Enter")

    def run_below(self, line):
        """Run a line in a new cell below the chosen one."""
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("b")
        self.page.keyboard.press("Enter")
        self.page.keyboard.insert_text(line)
        self.page.keyboard.press("Control+Enter")

    def sees(self, label):
        """Wait for feedback with this label, and bring it into sight."""
        region = self.page.get_by_role("region", name=label, exact=True).last
        region.wait_for()
        region.scroll_into_view_if_needed()
        return region

    def screenshot(self, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"exercise-{name}.png")


def test_an_exercise_is_solved_with_the_keyboard_alone(lab_page, progress_file):
    exercise = load("00_warm_up")
    learner = Learner(lab_page, exercise.name)
    learner.answer(exercise.stub.replace("None", "PRICES[symbol]"))
    learner.sees("00_warm_up: an error in your answer")
    learner.screenshot("wrong")
    learner.run_below("%hint")
    learner.sees("00_warm_up: hint 2 of 3")
    learner.screenshot("hint")
    learner.page.keyboard.press("Escape")
    learner.page.keyboard.press("ArrowUp")
    learner.answer(exercise.solution)
    learner.sees("00_warm_up: passed")
    learner.screenshot("passed")
    learner.run_below("%progress")
    learner.page.get_by_role("region", name="exercises passed").last.wait_for()
    learner.screenshot("progress")
    assert json.loads(progress_file.read_text())["exercises"]["00_warm_up"]["passed"]
    assert lab_page.console_errors == []
    assert lab_page.outside_requests == []


def test_the_interleaving_behind_a_wrong_answer_can_be_read_by_everybody(lab_page):
    exercise = load("41_lost_update")
    learner = Learner(lab_page, exercise.name)
    wrong = exercise.folder / "wrong" / "subtract_from_the_new_balance.py"
    learner.answer(wrong.read_text().partition("\n")[2])
    region = learner.sees("41_lost_update: not right yet")
    picture = region.get_by_role("img")
    assert "Interleaving of 2 requests" in picture.get_attribute("alt")
    # JupyterLab's body has no height and hides overflow, so axe takes all text for hidden and checks nothing.
    style = lab_page.page.add_style_tag(content="body { overflow: visible !important }")
    for scheme in ("light", "dark"):
        lab_page.prefer(scheme)
        found = Axe().run(lab_page.page, context=".jp-OutputArea-output [role=region]")
        serious = {it["id"] for it in found.response["violations"] if it["impact"] in ("serious", "critical")}
        assert serious == set()
        assert found.response["passes"]
        style.evaluate("node => { node.disabled = true }")
        learner.screenshot(f"interleaving-{scheme}")
        style.evaluate("node => { node.disabled = false }")
