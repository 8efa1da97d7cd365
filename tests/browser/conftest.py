"""JupyterLab in headless Chromium, watched: console errors and requests to the outside are kept.

Without a Chromium these tests are not collected, and the summary says so; `deskbook doctor` warns of it.
"""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from deskbook.doctor.checks import find_chromium
from deskbook.lab.copies import copy_lessons, trust
from deskbook.lab.server import jupyterlab
from playwright.sync_api import sync_playwright

CHECKOUT = Path(__file__).parents[2]
SCREENSHOTS = CHECKOUT / ".artifacts" / "screenshots"
#: Chromium's own background traffic would show up as requests of the page.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
VIEWPORT = {"width": 1280, "height": 900}
RUN_TIMEOUT_MS = 90_000


def pytest_ignore_collect(collection_path):
    if find_chromium() is None and collection_path.name.startswith("test_"):
        return True
    return None


def pytest_terminal_summary(terminalreporter):
    if find_chromium() is None:
        terminalreporter.write_line("browser tests did not run: no Chromium here (see `deskbook doctor`)")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab as `deskbook lab` runs it, on fresh copies of the lessons."""
    work = tmp_path_factory.mktemp("my-work")
    trust(work / name for name in copy_lessons(CHECKOUT, work).new)
    with jupyterlab(work, options=["--LabApp.expose_app_in_browser=True"]) as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Add to the report of a test that fails what JupyterLab wrote meanwhile: the page shows only a blank."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if report.failed and lab is not None:
        report.sections.append(("JupyterLab", f"{lab.state()}\n{lab.log()}"))
    return report


@pytest.fixture(scope="module")
def chromium():
    """Not for the session: while it lives, Playwright's event loop counts as running in this thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def lab_page(chromium, lab):
    """An empty page."""
    context = chromium.new_context(viewport=VIEWPORT, color_scheme="light")
    yield LabPage(context.new_page(), lab.wait_for_address())
    context.close()


class LabPage:
    """One notebook open in JupyterLab."""

    def __init__(self, page, address):
        self.page = page
        self._address = urlsplit(address)
        self.console_errors = []
        self.outside_requests = []
        page.set_default_timeout(RUN_TIMEOUT_MS)
        page.on("console", self._keep_console_error)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("request", self._keep_outside_request)

    def _keep_console_error(self, message):
        if message.type == "error":
            self.console_errors.append(message.text)

    def _keep_outside_request(self, request):
        url = urlsplit(request.url)
        if url.scheme in ("http", "https", "ws", "wss") and url.netloc != self._address.netloc:
            self.outside_requests.append(request.url)

    def open(self, name):
        url = self._address
        self.page.goto(f"{url.scheme}://{url.netloc}/lab/tree/notebooks/{name}.ipynb?reset&{url.query}")
        self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").first.wait_for()
        self.page.wait_for_function(f"{NOTEBOOK}?.sessionContext.session?.kernel?.status === 'idle'")

    def prefer(self, scheme):
        """Choose the colour scheme of the reader, "light" or "dark"; JupyterLab follows it at once."""
        self.page.emulate_media(color_scheme=scheme)
        is_light = str(scheme == "light").lower()
        self.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{is_light}'")

    def run_all_from_the_menu(self):
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        self.page.wait_for_function(
            f"{CODE_CELLS}.every(cell => cell.executionCount !== null && cell.executionState !== 'running')"
            f" && {NOTEBOOK}.sessionContext.session.kernel.status === 'idle'"
        )

    def clear_outputs(self):
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        self.page.wait_for_function(f"{CODE_CELLS}.every(cell => cell.outputs.length === 0)")

    def outputs(self):
        """Every output of the notebook, as the page holds it."""
        return json.loads(
            self.page.evaluate(f"JSON.stringify({CODE_CELLS}.flatMap(cell => cell.outputs.toJSON()))")
        )

    def code_cell_tags(self):
        return self.page.evaluate(f"{CODE_CELLS}.map(cell => cell.getMetadata('tags') ?? [])")

    def screenshots(self, name):
        """Keep the page as its reader sees it, one picture a screenful, from top to bottom."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for old in SCREENSHOTS.glob(f"{name}-*.png"):
            old.unlink()
        pane = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer").first
        self.page.wait_for_function(ALL_CELLS_ARE_DRAWN)
        pane.evaluate("pane => { pane.scrollTop = 0 }")
        for number in range(1, MAX_SCREENFULS):
            self.page.wait_for_timeout(150)  # the scrolled-to cells are drawn on the next frames
            self.page.screenshot(path=SCREENSHOTS / f"{name}-{number:02}.png")
            if pane.evaluate(LAST_CELL_IS_SHOWN):
                return
            pane.evaluate("pane => { pane.scrollTop += pane.clientHeight - 60 }")
        raise AssertionError(f"{MAX_SCREENFULS} screenfuls did not reach the end of {name}")


MAX_SCREENFULS = 80
#: JupyterLab draws what is not in view when it has time, and the pane grows meanwhile: cells that are being
#: drawn lie above each other.
ALL_CELLS_ARE_DRAWN = """() => {
    const cells = [...document.querySelectorAll(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")]
    const tops = cells.map(cell => cell.getBoundingClientRect().top)
    return cells.length === window.jupyterapp.shell.currentWidget.content.model.cells.length
        && tops.every((top, number) => number === 0 || top > tops[number - 1])
}"""
#: Not whether it can be scrolled further: JupyterLab guesses the heights of cells that it has not drawn yet.
LAST_CELL_IS_SHOWN = """pane => {
    const count = window.jupyterapp.shell.currentWidget.content.model.cells.length
    const cell = pane.querySelector(`.jp-Cell[data-windowed-list-index="${count - 1}"]`)
    return cell !== null && cell.getBoundingClientRect().height > 0
        && cell.getBoundingClientRect().bottom <= pane.getBoundingClientRect().bottom + 1
}"""
NOTEBOOK = "window.jupyterapp?.shell.currentWidget"
CODE_CELLS = f"Array.from({NOTEBOOK}.content.model.cells).filter(cell => cell.type === 'code')"
