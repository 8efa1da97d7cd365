"""What a run asks of a search, and what a search may ask of the run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from deskbook.races._schedule import Step


class Run(Protocol):
    """The run that is under way."""

    @property
    def roots(self) -> Mapping[str, asyncio.Task[Any]]:
        """Request -> its task."""
        ...

    def place_of(self, step: Step) -> object:
        """Return where a ready actor stands; two answers are equal if it stands at the same place again."""
        ...


class Chooser(Protocol):
    """Decides which of several possible steps is taken."""

    steps: list[Step]

    def choose(self, options: Sequence[Step], run: Run) -> Step:
        """Return one of `options`; called for every step, also where there is one option only."""
        ...

    def step_was_invisible(self) -> None:
        """Learn that the step that was chosen last ran no user code, so that its place does not matter."""
        ...
