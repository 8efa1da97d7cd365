"""No garbage collection in the middle of a run.

The collector starts after a number of allocations, so it strikes at a different step each time, and what it
finalises (async generators, `__del__`) is code that runs. Between runs it does no harm. What was alive before
the search is frozen, and so is what outlives a collection (the prefixes that are still to be run): collecting
the left-overs of some runs is then cheap, however long the search has been going on.
"""

from __future__ import annotations

import gc

#: Runs between two collections.
RUNS_BETWEEN_COLLECTIONS = 64


class NoCollection:
    """While entered, garbage is collected only when `between_runs` says so."""

    def __init__(self) -> None:
        self._runs = 0

    def __enter__(self) -> NoCollection:
        self._was_enabled = gc.isenabled()
        gc.disable()
        gc.freeze()
        return self

    def between_runs(self) -> None:
        """Collect now and then."""
        self._runs += 1
        if self._runs % RUNS_BETWEEN_COLLECTIONS == 0:
            gc.collect()
            gc.freeze()

    def __exit__(self, *exc_info: object) -> None:
        # Always: Python 3.12 starts with some objects frozen, and what stays frozen is never freed.
        gc.unfreeze()
        if self._was_enabled:
            gc.enable()
