"""Each lesson as its reader meets it: opened in JupyterLab, run from the menu, in a real browser."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

#: The code cells of the open notebook, in the page.
CODE_CELLS = (
    "Array.from(window.jupyterapp.shell.currentWidget.content.model.cells).filter(it => it.type === 'code')"
)
CHECKOUT = Path(__file__).parents[2]
#: CI runs the start page; `make prove` runs every lesson, each of which takes as long as its cells.
LESSONS = [
    pytest.param(path.stem, marks=[] if path.stem.startswith("00") else pytest.mark.prove)
    for path in sorted((CHECKOUT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
]


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_from_the_menu_without_errors_and_without_the_internet(lab_page, name):
    lab_page.open(name)
    lab_page.clear_outputs()
    lab_page.run_all_from_the_menu()
    outputs = lab_page.outputs()
    failing_cells = [tags for tags in lab_page.code_cell_tags() if "raises-exception" in tags]
    assert outputs
    assert len([output for output in outputs if output["output_type"] == "error"]) == len(failing_cells)
    lab_page.screenshots(name)
    assert lab_page.console_errors == []
    assert lab_page.outside_requests == []


def test_the_start_page_can_be_read_by_everybody_and_run_with_the_keyboard_alone(lab_page):
    """axe-core finds nothing serious in the lesson itself; JupyterLab's own frame is not ours to mend."""
    lab_page.open("00_start_here")
    # JupyterLab's body has no height and hides overflow, so axe takes all text for hidden and checks nothing.
    style = lab_page.page.add_style_tag(content="body { overflow: visible !important }")
    assert serious_violations(lab_page) == set()
    lab_page.prefer("dark")
    assert serious_violations(lab_page) == set()
    lab_page.page.locator(".jp-RenderedHTMLCommon").first.evaluate(
        "node => node.insertAdjacentHTML('beforeend', "
        '\'<p style="color:#ccc;background:#fff">pale</p><img src="data:,">\')'
    )
    assert serious_violations(lab_page) == {"color-contrast", "image-alt"}  # the check sees what is wrong
    style.evaluate("node => node.remove()")
    lab_page.clear_outputs()
    lab_page.page.keyboard.press("Escape")
    for _ in range(3):
        lab_page.page.keyboard.press("Shift+Enter")
    lab_page.page.wait_for_function(f"{CODE_CELLS}.some(cell => cell.executionCount !== null)")


def serious_violations(lab_page):
    """Names of the axe rules that the text and outputs of the open notebook break."""
    found = Axe().run(lab_page.page, context=".jp-RenderedHTMLCommon")
    broken = {it["id"] for it in found.response["violations"] if it["impact"] in ("serious", "critical")}
    return broken - {"link-in-text-block"}  # JupyterLab's theme draws links without a line
