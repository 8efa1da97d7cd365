"""Make a counterexample easier to read: the same failure with fewer switches between requests.

Iterative bounding has already found the fewest preemptions. Among schedules with that many, this greedy pass
joins two stretches of the same request into one where the run still fails, and drops cancellations and clock
ticks that are not needed. Source: the idea of delta debugging (Zeller & Hildebrandt, 2002), on stretches.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence

from .schedule import is_environment

#: Candidate schedules that are tried at most.
MAX_CANDIDATES = 200


def minimise(
    steps: Sequence[str], attempt: Callable[[Sequence[str]], tuple[list[str], int] | None]
) -> list[str]:
    """Return a schedule that fails with at most as many preemptions and switches as `steps`.

    Args:
        steps: a failing schedule.
        attempt: runs a wish leniently (steps that cannot run are skipped) and returns the steps that were
            taken with their cost if that run fails in the same way, else None.
    """
    candidates = _candidates(steps, MAX_CANDIDATES)
    found = None
    try:
        while True:
            found = attempt(candidates.send(found))
    except StopIteration as stop:
        return list(stop.value)


async def minimise_async(
    steps: Sequence[str],
    attempt: Callable[[Sequence[str]], Awaitable[tuple[list[str], int] | None]],
    *,
    most: int = MAX_CANDIDATES,
) -> list[str]:
    """Do what `minimise` does, with an `attempt` that must be awaited, at most `most` times."""
    candidates = _candidates(steps, most)
    found = None
    try:
        while True:
            found = await attempt(candidates.send(found))
    except StopIteration as stop:
        return list(stop.value)


_Found = tuple[list[str], int] | None


def _candidates(steps: Sequence[str], most: int) -> Generator[Sequence[str], _Found, Sequence[str]]:
    """Yield wishes, receive what came of them, return the best schedule."""
    start = yield steps
    if start is None:
        return steps
    best, best_cost = start
    tried = 0
    progress = True
    while progress and tried < most:
        progress = False
        for candidate in _simpler(best):
            tried += 1
            found = yield candidate
            if found is not None and _size(*found) < _size(best, best_cost):
                best, best_cost = found
                progress = True
                break
            if tried >= most:
                break
    return best


def _size(steps: Sequence[str], cost: int) -> tuple[int, int, int]:
    return (cost, len(_stretches(steps)), len(steps))


def _stretches(steps: Sequence[str]) -> list[list[str]]:
    return [list(group) for _, group in itertools.groupby(steps)]


def _simpler(steps: Sequence[str]) -> Iterator[list[str]]:
    stretches = _stretches(steps)
    for index, stretch in enumerate(stretches):
        if is_environment(stretch[0]):
            yield _joined(stretches[:index] + stretches[index + 1 :])
    for index, stretch in enumerate(stretches):
        for later in range(index + 2, len(stretches)):
            if stretches[later][0] == stretch[0]:
                between = stretches[index + 1 : later]
                yield _joined(
                    [*stretches[:index], stretch, stretches[later], *between, *stretches[later + 1 :]]
                )
                yield _joined(
                    [*stretches[:index], *between, stretch, stretches[later], *stretches[later + 1 :]]
                )
                break


def _joined(stretches: Sequence[Sequence[str]]) -> list[str]:
    return [step for stretch in stretches for step in stretch]
