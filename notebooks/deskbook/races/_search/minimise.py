"""Make a counterexample easier to read: the same failure with fewer switches between requests.

Iterative bounding has already found the fewest preemptions. Among schedules with that many, this greedy pass
joins two stretches of the same request into one where the run still fails, and drops cancellations and clock
ticks that are not needed. Source: the idea of delta debugging (Zeller & Hildebrandt, 2002), on stretches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence

from deskbook.races._schedule import Step, stretches

#: Candidate schedules that are tried at most.
MAX_CANDIDATES = 200


#: The steps that a run took and their cost, or None if it did not fail in the same way.
Attempt = tuple[list[Step], int] | None


def minimise(steps: Sequence[Step], attempt: Callable[[Sequence[Step]], Attempt]) -> list[Step]:
    """Return a schedule that fails with at most as many preemptions and switches as `steps`.

    Args:
        steps: A failing schedule.
        attempt: Runs a wish leniently (steps that cannot run are skipped) and says what came of it.
    """
    candidates = _candidates(steps, MAX_CANDIDATES)
    found = None
    try:
        while True:
            found = attempt(candidates.send(found))
    except StopIteration as stop:
        return list(stop.value)


async def minimise_async(
    steps: Sequence[Step],
    attempt: Callable[[Sequence[Step]], Awaitable[Attempt]],
    *,
    most: int = MAX_CANDIDATES,
) -> list[Step]:
    """Do what `minimise` does, with an `attempt` that must be awaited, at most `most` times."""
    candidates = _candidates(steps, most)
    found = None
    try:
        while True:
            found = await attempt(candidates.send(found))
    except StopIteration as stop:
        return list(stop.value)


def _candidates(steps: Sequence[Step], most: int) -> Generator[Sequence[Step], Attempt, Sequence[Step]]:
    """Yield wishes, receive what came of them, return the best schedule."""
    start = yield steps
    if start is None:
        return steps
    best, best_cost = start
    tried = 0
    is_better = True
    while is_better and tried < most:
        is_better = False
        for candidate in _simpler(best):
            tried += 1
            found = yield candidate
            if found is not None and _size(*found) < _size(best, best_cost):
                best, best_cost = found
                is_better = True
                break
            if tried >= most:
                break
    return best


def _size(steps: Sequence[Step], cost: int) -> tuple[int, int, int]:
    return (cost, len(stretches(steps)), len(steps))


def _simpler(steps: Sequence[Step]) -> Iterator[list[Step]]:
    parts = stretches(steps)
    for index, part in enumerate(parts):
        if part[0].is_environment:
            yield _joined(parts[:index] + parts[index + 1 :])
    for index, part in enumerate(parts):
        for later in range(index + 2, len(parts)):
            if parts[later][0] is part[0]:
                between = parts[index + 1 : later]
                yield _joined([*parts[:index], part, parts[later], *between, *parts[later + 1 :]])
                yield _joined([*parts[:index], *between, part, parts[later], *parts[later + 1 :]])
                break


def _joined(parts: Sequence[Sequence[Step]]) -> list[Step]:
    return [step for part in parts for step in part]
