"""What the loop asks of a search, and how a piece of work is known to belong to a request."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from typing import Any, Protocol

#: The request that a piece of work belongs to; tasks inherit it from the task that creates them.
REQUEST: contextvars.ContextVar[str | None] = contextvars.ContextVar("deskbook_races_request", default=None)


class Chooser(Protocol):
    """Decides which of several possible steps is taken."""

    def choose(self, options: Sequence[str], loop: Any) -> str:
        """Return one of `options`; called for every step, also where there is one option only."""
        ...

    def step_was_invisible(self) -> None:
        """Learn that the step that was chosen last ran no user code, so that its place does not matter."""
