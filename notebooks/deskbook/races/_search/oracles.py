"""Rules that hold without being written for each service.

`serializable`: requests that run at the same time must come to a result that they could have had one after
the other, in some order. It needs no invariant, only something to compare: the responses and the observed
state. Source: serializability as in Papadimitriou, "The Serializability of Concurrent Database Updates" (JACM
1979).

With cancellations the rule is all or nothing: a cancelled request must have had its whole effect or none, so
it is compared with orders in which it ran to its end and orders in which it did not run at all. The clock may
move at any step of a sequential order too, so a timeout that strikes a lone request is not a race.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, NamedTuple

from deskbook.races._schedule import Step
from deskbook.races._search.chooser import Run
from deskbook.races._search.frontier import Follow, Frontier
from deskbook.races._search.variation import Variation
from deskbook.races._story.outcome import Failure, default_state, describe, frozen
from deskbook.races._story.run_result import RunResult
from deskbook.races._subject.scenario import Scenario

#: Sequential runs that are made at most to learn what is allowed (six requests have 720 orders).
MAX_SEQUENTIAL_RUNS = 5_000

#: Moves of the clock in a row that do not help the request whose turn it is. After that it waits for a later
#: request, which a heartbeat beside it must not hide.
MAX_IDLE_TICKS = 8


class OneAfterTheOther(Follow):
    """Follows a prefix of environment choices while the requests run strictly in a given order."""

    __slots__ = ("_helper", "_idle_ticks", "_order")

    def __init__(self, prefix: Sequence[Step], order: Sequence[str]) -> None:
        super().__init__(prefix)
        self._order = order
        self._idle_ticks = 0
        self._helper: str | None = None

    def choose(self, options: Sequence[Step], run: Run) -> Step:
        """Offer only the first request of the order that is not done, and the clock."""
        return super().choose(self._offered(options, run) or list(options), run)

    def _offered(self, options: Sequence[Step], run: Run) -> list[Step]:
        actors = [step for step in options if not step.is_environment]
        clock = [step for step in options if step.is_clock]
        left = [name for name in self._order if not run.roots[name].done()]
        if self._helper is not None:
            helping = [step for step in actors if step.request == self._helper]
            if helping:
                return helping + clock
            self._helper = None
        if not left:
            return list(options)
        # Background work of earlier requests and of the application goes on only when the present request
        # waits for it. A later request may not begin while the present one waits for the clock: what came of
        # that would be learnt as an outcome of requests that do not overlap.
        turn = [step for step in actors if step.request == left[0]]
        turn = turn or [step for step in actors if step.request not in left]
        self._idle_ticks = 0 if turn else self._idle_ticks + 1
        if turn or (clock and self._idle_ticks <= MAX_IDLE_TICKS):
            return turn + clock
        # The present request waits for a later one. That one then goes as far as it can, at a stretch.
        for name in left[1:]:
            helping = [step for step in actors if step.request == name]
            if helping:
                self._helper = name
                return helping + clock
        return clock


class SequentialRun(NamedTuple):
    """One run to make before the search: how to choose, what to do with its result, and the order."""

    chooser: OneAfterTheOther
    note: Callable[[RunResult], None]
    order: Sequence[str]


class Serializable:
    """Judges runs by the sequential ones.

    Args:
        scenario: What is run.
        cancellable: The requests that may be cancelled in the search; they are not in the sequential runs.
        variation: Which values differ whatever the order is, and are compared by equality alone.

    Attributes:
        is_complete: Whether all sequential runs could be made.
    """

    def __init__(
        self, scenario: Scenario, cancellable: Sequence[str], variation: Variation | None = None
    ) -> None:
        self._variation = Variation() if variation is None else variation
        self._observe = scenario.observe
        self._cancellable = set(cancellable)
        self._names = scenario.names
        self._allowed: dict[frozenset[str], set[Any]] = {}
        self.is_complete = True
        self._budget = MAX_SEQUENTIAL_RUNS

    def sequential_runs(self) -> Iterator[SequentialRun]:
        """Yield the runs that must be made before the search."""
        optional = sorted(self._cancellable)
        for count in range(len(optional) + 1):
            for left_out in itertools.combinations(optional, count):
                names = [name for name in self._names if name not in left_out]
                for order in itertools.permutations(names):
                    yield from self._runs_in_order(order)

    def _runs_in_order(self, order: Sequence[str]) -> Iterator[SequentialRun]:
        missing = frozenset(self._names) - frozenset(order)
        frontier = Frontier(None)
        while (prefix := frontier.pop()) is not None:
            if self._budget <= 0:
                self.is_complete = False
                return
            self._budget -= 1
            chooser = OneAfterTheOther(prefix.steps, order)
            yield SequentialRun(chooser, functools.partial(self._allow, missing), order)
            frontier.expand(chooser, len(prefix.steps))

    def _allow(self, missing: frozenset[str], result: RunResult) -> None:
        """Note an outcome under every set of cancelled requests that could have led to it."""
        if result.cut is not None or result.escaped:
            self.is_complete = False
            return
        could_be_cancelled = sorted(self._cancellable - missing)
        for count in range(len(could_be_cancelled) + 1):
            for dropped in itertools.combinations(could_be_cancelled, count):
                gone = missing.union(dropped)
                self._allowed.setdefault(gone, set()).add(self._outcome(result, gone))

    def _outcome(self, result: RunResult, gone: Set[str]) -> Any:
        if self._variation:
            names = [name for name in self._names if name in result.responses and name not in gone]
            return self._variation.compared(result, names, observed=self._observe is not None)
        responses = tuple(
            (name, frozen(result.responses[name]))
            for name in self._names
            if name in result.responses and name not in gone
        )
        state = result.state if self._observe is not None else default_state(result.app)
        return (responses, frozen(state))

    def judge(self, result: RunResult) -> Failure | None:
        """Compare one run with the sequential ones."""
        gone = frozenset(
            name for name, value in result.responses.items() if isinstance(value, asyncio.CancelledError)
        )
        if self._outcome(result, gone) in self._allowed.get(gone, ()):
            return None
        answers = ", ".join(f"{name}: {describe(value)}" for name, value in result.responses.items())
        state = result.state if self._observe is not None else default_state(result.app)
        shown = f"; state {describe(state)}" if state else ""
        return Failure("not serializable", f"no sequential order of the requests gives {answers}{shown}")
