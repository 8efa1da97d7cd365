"""Pytest plugin: `pytest notebooks --notebooks` verifies notebooks as strictly as the course demands.

It switches on nbval with every output compared, stderr included, in kernels of the running interpreter that
carry the hook. When a cell has passed, its stored outputs are corrupted one by one and nbval's comparison
must notice. The figures stand in the closing lines of the run.

Any test can add to these lines: with `record_property("proven", "planted holes")` a test that passes counts.

Under pytest-xdist (`-n 2 --dist loadfile`) each worker counts its share, and the run adds them up.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deskbook.authoring.comparison import mutate_cell
from deskbook.authoring.document import short_name
from deskbook.authoring.first_failure import FirstFailure
from deskbook.authoring.kernel import (
    CELL_TIMEOUT_S,
    STARTUP_TIMEOUT_S,
    applied_to_process,
    kernel_environment,
)
from deskbook.authoring.markers import ignore_reason
from deskbook.authoring.quick_start import skip_slow_import
from deskbook.authoring.sanitize import SANITIZE_FILE
from deskbook.authoring.summary import NotebookFigures, Summary
from deskbook.module_cells import PREFIX as MODULE_FOLDERS
from deskbook.processes.leftovers import remove_folders_of_the_dead

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

# A plugin named with -p is imported before pytest loads the installed ones, and with them nbval and nbformat.
skip_slow_import()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the course."""
    group = parser.getgroup("deskbook", "FastAPI Deskbook")
    group.addoption("--notebooks", action="store_true", help="Execute notebooks and compare every output.")
    group.addoption(
        "--cell-timeout", type=float, default=CELL_TIMEOUT_S, help="Limit for a cell, in seconds."
    )
    group.addoption("--survivors", action="store_true", help="List mutants by cell and every survivor.")
    group.addoption("--compare-only", action="store_true", help="Compare outputs, and corrupt none of them.")
    group.addoption("--first-failure", metavar="FILE", help="Write what fails first to a file, as JSON.")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set nbval's options before nbval reads them."""
    if config.option.notebooks:
        config.option.nbval = True
        config.option.nbval_current_env = True
        config.option.nbval_cell_timeout = config.option.cell_timeout
        config.option.nbval_kernel_startup_timeout = STARTUP_TIMEOUT_S
        config.option.nbval_sanitize_with = str(SANITIZE_FILE)
    config.pluginmanager.register(Verification(config), "deskbook-verification")


class Verification:
    """Counts what a run proves, and corrupts the outputs of notebooks that passed."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.summary = Summary()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Start kernels in the environment of a checked kernel; nbval starts one before its first cell."""
        if not _is_cell(item):
            return (yield)
        if item.parent.kernel is not None:  # type: ignore[union-attr]
            return (yield)
        with kernel_environment() as variables, applied_to_process(variables):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Fail a cell that was never executed; nbval runs it, compares nothing and passes."""
        yield
        if _is_cell(item) and item.cell.execution_count is None:  # type: ignore[attr-defined]
            pytest.fail(
                f"The cell was never executed. Run: deskbook notebook run {item.path.name}", pytrace=False
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Count the cell, and what the test says it proves."""
        report = yield
        if report.failed:
            self._keep_first_failure(item, report)
        if _is_cell(item):
            self._count_cell(item, report)
        elif report.when == "call" and report.passed:
            for name, value in item.user_properties:
                if name == "proven":
                    self.summary.proven[str(value)] += 1
        return report

    def _keep_first_failure(self, item: Any, report: pytest.TestReport) -> None:
        """Write the failure to the file that `deskbook notebook repeat` reads."""
        name = self.config.option.first_failure
        if not name or Path(name).exists():
            return
        if _is_cell(item):
            failure = FirstFailure.of_cell(item, report.longreprtext)
        else:
            failure = FirstFailure(report.nodeid, report.longreprtext)
        failure.write(Path(name))

    def _count_cell(self, item: Any, report: pytest.TestReport) -> None:
        figures = self.summary.notebooks.setdefault(short_name(item.path), NotebookFigures())
        figures.seconds += report.duration
        if report.when != "call":
            figures.failed += report.failed
            return
        figures.cells += 1
        figures.failed += report.failed
        figures.not_judged += hasattr(report, "wasxfail")
        item.stash[_passed] = report.passed
        if not item.cell.outputs:
            return
        if item.options["check"] and not item.options["skip"]:
            self.summary.outputs_compared += 1
        else:
            place = f"{short_name(item.path)} cell {item.cell_num}"
            self.summary.exempt.append((place, ignore_reason(item.cell.source) or "no reason given"))

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Corrupt the outputs of a cell that has passed."""
        if self.config.option.compare_only:
            return
        if _is_cell(item) and item.stash.get(_passed, False):
            started = time.perf_counter()
            self.summary.verdicts.append(mutate_cell(item))
            self.summary.mutation_seconds += time.perf_counter() - started

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Hand over the figures of a worker, or fail the run if too little is compared or noticed."""
        if self.summary.notebooks:
            remove_folders_of_the_dead(MODULE_FOLDERS)  # nbval kills its kernels, so they cannot
        if (output := getattr(self.config, "workeroutput", None)) is not None:
            output[_SUMMARY] = pickle.dumps(self.summary)  # execnet carries bytes, but no classes
        elif self.config.option.compare_only:
            return
        elif exitstatus == pytest.ExitCode.OK and self.summary.shortfalls():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the figures of a worker of this run; one that has crashed has none, and its test fails."""
        if pickled := getattr(node, "workeroutput", {}).get(_SUMMARY):
            self.summary.add(pickle.loads(pickled))  # noqa: S301 - our own child process wrote it

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Write the closing lines."""
        lines = self.summary.lines(by_cell=self.config.option.survivors)
        if not lines:
            return
        terminalreporter.write_sep("=", "what this run proves")
        for line in lines:
            terminalreporter.write_line(line)
        for shortfall in self.summary.shortfalls():
            terminalreporter.write_line(shortfall, red=True, bold=True)


_passed = pytest.StashKey[bool]()
_SUMMARY = "deskbook_summary"


def _is_cell(item: pytest.Item) -> bool:
    return type(item).__name__ == "IPyNbCell"
