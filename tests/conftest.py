"""What tests of several folders share. Imports stay inside the fixtures: most folders do not need the app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from deskbook.running import RunningApp


@pytest.fixture(scope="session")
async def desk() -> AsyncIterator[RunningApp]:
    """Give the reference app on real prices, one for all tests: open accounts of your own, break nothing."""
    from deskbook.running import running_app

    async with running_app() as running:
        yield running


@pytest.fixture
async def own_desk() -> AsyncIterator[RunningApp]:
    """Give the reference app on a database of this test alone, to count rows in or to break."""
    from deskbook.running import running_app

    async with running_app() as running:
        yield running
