"""One search from its first run to its report, in process.

The parts: a `Frontier` says which prefix comes next, `InProcess` runs it, a judge looks at the result. This
module ties them together, keeps the budget, and turns a failing run into a counterexample: made smaller,
replayed to be sure, recorded line by line.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import symmetry
from .errors import Diverged
from .in_process import InProcess
from .judging import judge_with
from .minimise import minimise
from .options import Options
from .oracles import Serializable
from .outcome import Failure, frozen
from .recording import record
from .report import Counterexample, Report
from .run_result import RunResult
from .sampling import Priorities
from .scenario import Scenario
from .schedule import render
from .search import Follow, Frontier, Lenient, Prefix, Redundant
from .verdict import EVERY_AWAIT, make_report

#: Share of the time budget that is kept for random schedules, in case the systematic search does not finish.
SAMPLING_SHARE = 0.2

#: How often the clock is looked at, in runs.
_RUNS_BETWEEN_LOOKS = 16


class Search:
    """A search over the interleavings of one scenario.

    Args:
        scenario: what to run.
        options: how far to go.
    """

    #: What a step is, for the report.
    level = EVERY_AWAIT

    def __init__(self, scenario: Scenario, options: Options) -> None:
        self.scenario = scenario
        self.options = options
        self.runner = InProcess(
            scenario,
            cancellable=options.cancel,
            explore_clock=options.clock == "explored",
            clock_jumps=options.clock_jumps,
            max_steps=options.max_steps,
        )
        self.twins: tuple[tuple[str, ...], ...] = ()
        if options.reduce:
            self.twins = symmetry.groups_of_twins(scenario.requests, options.cancel)
        self.factor = symmetry.factor(self.twins)
        self.frontier = Frontier(options.preemption_bound)
        self.runs = 0
        self.outcomes: set[Any] = set()
        self.failing: tuple[list[str], Failure] | None = None
        self.failures = 0
        self.was_cut = False
        self.diverged: str | None = None
        self.budget_ended: str | None = None
        self.first_run: list[str] = []
        self.found_by_sampling = False
        self._renaming: dict[str, str] = {}
        self.serializable: Serializable | None = None
        self._deadline = math.inf

    def slices(self) -> Any:
        """Search; a generator that yields now and then, so that the caller can let its own loop run."""
        started = time.perf_counter()
        self._deadline = started + self.options.max_seconds * (1 - SAMPLING_SHARE)
        try:
            with self.runner.in_control():
                self._prepare()
                self._judge = self._make_judge()
        except Diverged as error:
            self.diverged = str(error)
            return
        yield
        while self.failing is None or not self.options.stop_at_first:
            with self.runner.in_control():
                more = self._search_for(_SLICE_S)
            if not more:
                break
            yield
        if self.budget_ended and self.failing is None and not self.diverged:
            self._deadline = started + self.options.max_seconds
            with self.runner.in_control():
                try:
                    self._sample()
                except Diverged as error:
                    self.diverged = str(error)

    def _prepare(self) -> None:
        self.runner.warm_up()
        if self.options.oracle == "serializable":
            self.serializable = Serializable(self.scenario, self.options.cancel)
            cancellable, self.runner.cancellable = self.runner.cancellable, ()
            for job in self.serializable.jobs():
                self.runner.run(job.chooser, job.judge, only=job.order)
            self.runner.cancellable = cancellable
        self.runner.loop.set_symmetry(self.twins)

    def _make_judge(self) -> Callable[[RunResult], Failure | None]:
        if self.serializable is not None and self.scenario.invariant is None:
            return self.serializable.judge
        if self.serializable is not None:
            return _both(self.serializable.judge, judge_with(self.runner, self.scenario.invariant))
        return judge_with(self.runner, self.scenario.invariant)

    def _judge_all_names(self, result: RunResult) -> Failure | None:
        """Judge a run under every renaming of identical requests (see `symmetry`)."""
        original, found = result.responses, None
        for renaming in symmetry.renamings(self.twins, original):
            result.responses = symmetry.renamed(original, renaming) if renaming else original
            if self.options.collect_outcomes:
                self.outcomes.add(self._outcome(result))
            if found is None and (found := self._judge(result)) is not None:
                self._renaming = renaming
            if found is not None and not self.options.collect_outcomes:
                break
        return found

    def _outcome(self, result: RunResult) -> Any:
        return (frozen(result.responses), frozen(result.state))

    def _search_for(self, seconds: float) -> bool:
        """Run schedules for a while; tell whether there are more to run."""
        until = min(time.perf_counter() + seconds, self._deadline)
        judge = self._judge_all_names if self.twins or self.options.collect_outcomes else self._judge
        while (prefix := self.next_prefix()) is not None:
            chooser = self._follow(prefix)
            self._renaming = {}
            try:
                result = self.runner.run(chooser, judge)
            except Redundant:
                continue
            except Diverged as error:
                self.diverged = str(error)
                return False
            if self.note(chooser, result, len(prefix.steps)):
                return False
            if self.runs % _RUNS_BETWEEN_LOOKS == 0 and time.perf_counter() > until:
                return not self.time_is_up()
        return False

    def _follow(self, prefix: Prefix) -> Follow:
        reduce = self.options.reduce
        return Follow(prefix.steps, prunes=reduce, reduce=reduce, expected=prefix.options)

    def next_prefix(self) -> Prefix | None:
        """Return the next prefix to run, or None when there is none or the budget of schedules has ended."""
        limit = self.options.max_schedules
        if limit is not None and self.runs * self.factor >= limit and not self.frontier.is_empty:
            self.budget_ended = f"{limit:,} schedules"
            return None
        return self.frontier.pop()

    def time_is_up(self) -> bool:
        """Tell whether the budget of time has ended, and remember it."""
        if time.perf_counter() <= self._deadline:
            return False
        self.budget_ended = f"{self.options.max_seconds:g} seconds"
        return True

    def note(self, chooser: Follow, result: RunResult, prefix_length: int) -> bool:
        """Note what a run came to and file its alternatives; tell whether the search is over."""
        self.runs += 1
        if not self.first_run:
            self.first_run = chooser.steps
        self.was_cut |= chooser.was_cut
        if result.failure is not None:
            self.failures += 1
            if self.failing is None:
                self.failing = (symmetry.rename_steps(chooser.steps, self._renaming), result.failure)
            if self.options.stop_at_first:
                return True
        self.frontier.expand(chooser, prefix_length)
        return False

    def _sample(self) -> None:
        """Try random schedules with what is left of the budget."""
        limit = self.options.max_schedules
        count = 1_000_000 if limit is None else max(50, limit // 4)
        for number in range(count):
            if time.perf_counter() > self._deadline:
                return
            chooser = Priorities(self.options.seed * 1_000_003 + number, len(self.first_run))
            self._renaming = {}
            result = self.runner.run(chooser, self._judge_all_names if self.twins else self._judge)
            if result.failure is not None:
                if result.failure.kind == "livelock":
                    continue  # random priorities are not fair, so this proves nothing
                self.found_by_sampling = True
                self.failing = (symmetry.rename_steps(chooser.steps, self._renaming), result.failure)
                return

    # The report.

    @property
    def needs_unreduced_search(self) -> bool:
        """Whether a failure under swapped names did not replay: then `invariant` does more than read."""
        return self.diverged is not None and self.failing is not None and self.factor > 1

    def report(self) -> Report:
        """Return the report of a search that has ended."""
        with self.runner.in_control():
            self.runner.loop.set_symmetry(())
            found = self._counterexample() if self.failing is not None else None
            self.runner.close()
        return make_report(self, found)

    def _counterexample(self) -> Counterexample | None:
        assert self.failing is not None
        steps, failure = self.failing
        steps = minimise(steps, lambda wish: self._attempt(wish, failure))
        try:
            found, again = record(self.runner, self._judge, steps)
        except Diverged as error:
            self.diverged = str(error)
            return None
        if again is None:
            self.diverged = (
                f"the schedule {render(steps)} failed once ({failure}) and passed when it was run again"
            )
            return None
        return found

    def _attempt(self, wish: Sequence[str], failure: Failure) -> tuple[list[str], int] | None:
        chooser = Lenient(wish)
        try:
            result = self.runner.run(chooser, self._judge)
        except Diverged:
            return None
        if result.failure is None or result.failure.kind != failure.kind:
            return None
        return chooser.steps, chooser.cost

    def ungated(self) -> list[str]:
        """Return a sentence for what ran outside of the explorer's control."""
        used = ", ".join(sorted(self.runner.ungated))
        return [f"NOT UNDER CONTROL: the code used {used}; pass a gate for real servers"] if used else []

    def server_chose(self) -> bool:
        """Tell whether a server decided which of several waiting requests went on."""
        return False

    def clock_was_held_back(self) -> bool:
        """Tell whether the clock could have moved at a moment when it was not allowed to."""
        return self.runner.clock_was_held_back


_SLICE_S = 0.05


def _both(
    first: Callable[[RunResult], Failure | None], second: Callable[[RunResult], Failure | None]
) -> Callable[[RunResult], Failure | None]:
    return lambda result: first(result) or second(result)
