"""When there are too many schedules to try them all: random ones with a guarantee.

PCT gives every actor a random priority, always runs the highest, and lowers the running one at `depth - 1`
random moments. A bug that needs `depth` ordering constraints is hit by one run with probability at least 1 /
(n * k ** (depth - 1)) for n actors and k steps, far better than a fair coin at every step. Source:
Burckhardt, Kothari, Musuvathi, Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of Finding
Bugs" (ASPLOS 2010).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from deskbook.races._schedule import Step
from deskbook.races._search.chooser import Run


class Priorities:
    """Chooses by random priorities that change at a few random steps.

    Args:
        seed: Makes the run repeatable.
        length: Expected number of steps of a run.
        depth: Ordering constraints that the bug may need; 3 covers nearly all that were ever studied.
    """

    def __init__(self, seed: int, length: int, depth: int = 3) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._change_at = {self._random.randrange(1, max(length, 2)) for _ in range(depth - 1)}
        self._priority: dict[Step, float] = {}
        self._lowest = 0.0
        self.steps: list[Step] = []

    def choose(self, options: Sequence[Step], run: Run) -> Step:
        """Return the option with the highest priority; see `chooser.Chooser`."""
        for option in options:
            if option not in self._priority:
                self._priority[option] = self._random.random()
        step = max(options, key=self._priority.__getitem__)
        if len(self.steps) in self._change_at or step.is_environment or self._is_starving(step):
            self._lowest -= 1.0
            self._priority[step] = self._lowest
        self.steps.append(step)
        return step

    def step_was_invisible(self) -> None:
        """Do nothing: a random run has no alternatives to forget."""

    def _is_starving(self, step: Step) -> bool:
        """Tell whether one actor has run for so long that it may be spinning while others wait."""
        recent = self.steps[-50:]
        return len(recent) == 50 and all(earlier is step for earlier in recent)
