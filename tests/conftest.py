"""What tests of several folders share. Imports stay inside the fixtures: most folders do not need the app."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from deskbook.desk import RunningApp

#: Files that take longest go first, else the last of them runs alone while the other workers have ended.
LONG = (
    "tests/environment/test_elsewhere",  # in `make prove` alone: whole suites, one after the other
    "11_keep_the_event_loop_free.ipynb",
    "tests/browser/test_lessons",
    "tests/browser/test_exercises",
    "tests/practice/test_exercises_hold",
    "tests/pattern_command/",
    "tests/races/test_plugin_and_command",
    "tests/app/test_start_and_stop",
    "tests/serving/",
    "tests/notebooks/test_notebook_run",
)


def pytest_configure() -> None:
    """Hear Ctrl-C also in a suite that a script has started in the background, which ignores it.

    Ignoring is inherited: what a test starts and then ends with Ctrl-C would never end.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; the order inside a file stays."""

    def rank(item: pytest.Item) -> int:
        return next((place for place, part in enumerate(LONG) if part in item.nodeid), len(LONG))

    items.sort(key=rank)


@pytest.fixture(scope="session")
async def desk() -> AsyncIterator[RunningApp]:
    """Give the reference app on real prices, one for all tests: open accounts of your own, break nothing."""
    from deskbook.desk import running_app

    async with running_app() as running:
        yield running


@pytest.fixture
async def own_desk() -> AsyncIterator[RunningApp]:
    """Give the reference app on a database of this test alone, to count rows in or to break."""
    from deskbook.desk import running_app

    async with running_app() as running:
        yield running
