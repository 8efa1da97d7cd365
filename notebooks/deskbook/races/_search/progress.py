"""How far a search has come: what is still to be run, what was found, what is left of the budget."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from deskbook.races._schedule import Schedule, Step
from deskbook.races._search import symmetry
from deskbook.races._search.chooser import Chooser
from deskbook.races._search.frontier import Follow, Frontier, Prefix
from deskbook.races._search.options import Options
from deskbook.races._search.oracles import Serializable
from deskbook.races._search.rehearsal import Rehearsal
from deskbook.races._search.sampling import Priorities
from deskbook.races._story.outcome import Failure, frozen
from deskbook.races._story.run_result import RunResult
from deskbook.races._subject.scenario import Scenario

#: Share of the time budget that is kept for random schedules, in case the systematic search does not finish.
SAMPLING_SHARE = 0.2

#: Runs in a row that may lose control before the search is given up: no other will be judged either.
MOST_ESCAPED = 20

#: Random schedules that are tried where only time limits them.
_MANY = 1_000_000


class Progress:
    """The state of one search. It knows no runner, so a search of any kind can have one.

    Args:
        scenario: What is run.
        options: How far to go.
        level: What a step is, for the report.

    Attributes:
        frontier: The prefixes that are still to be run.
        runs: Systematic runs so far.
        failing: The first run that broke a rule, and why.
        outcomes: The different outcomes, if they are collected.
        serializable: The rule that compares with sequential orders, if it was asked for.
        twins: Groups of identical requests (see `symmetry`); empty without reduction.
        factor: Schedules that one run stands for.
        first_run: The steps of the first run.
        was_cut: Whether an actor that was spinning was left, so that longer spins were not tried.
        found_by_sampling: Whether a random schedule found the failure.
        diverged: Why a schedule could not be repeated, or None.
        budget_ended: Which budget ended before the search, or None.
        notes: What was not under control, as sentences for the report.
        server_chose: Whether a server decided which of several waiting requests went on.
        bounds: What else was left out, each as words that say which interleavings were tried.
        clock_was_held_back: Whether the clock could have moved at a moment when it was not allowed to.
        was_bounded: Whether something that goes on for ever was followed for some rounds only.
        clients_left: Whether clients of endless streams left because nothing else could happen.
        rehearsal: What was learnt before the search.
        stubs_asked: Awaits of the service that never let anybody else run.
        is_stubbed: Whether one of them asks a stub, by its name.
        cut: Why a run was ended before its end, or None.
    """

    def __init__(self, scenario: Scenario, options: Options, level: str) -> None:
        self.scenario = scenario
        self.options = options
        self.level = level
        self.frontier = Frontier(options.preemption_bound)
        self.runs = 0
        self.failing: tuple[Schedule, Failure] | None = None
        self.outcomes: set[Any] = set()
        self.serializable: Serializable | None = None
        compares = options.oracle == "serializable"
        self.rehearsal = Rehearsal(scenario, compares=compares)
        if compares:
            self.serializable = Serializable(scenario, options.cancel, self.rehearsal.variation)
        self.twins: tuple[tuple[str, ...], ...] = ()
        if options.reduce:
            self.twins = symmetry.groups_of_twins(scenario.requests, options.cancel)
        self.factor = symmetry.factor(self.twins)
        self.first_run: list[Step] = []
        self.was_cut = False
        self.found_by_sampling = False
        self.diverged: str | None = None
        self.budget_ended: str | None = None
        self.notes: list[str] = []
        self.server_chose = False
        self.bounds: list[str] = []
        self.clock_was_held_back = False
        self.was_bounded = False
        self.clients_left = False
        self.cut: str | None = None
        self.stubs_asked: list[str] = []
        self.is_stubbed = False
        self._escaped_in_a_row = 0
        #: The names under which the last run failed, where its requests have identical ones.
        self.renaming: dict[str, str] = {}
        self._began = time.perf_counter()
        self._deadline = math.inf

    # The budget.

    def begin(self) -> None:
        """Start the clock of the search."""
        self._began = time.perf_counter()

    def begin_systematic_part(self) -> None:
        """Give the systematic part its share of the time, counted from now."""
        self._deadline = time.perf_counter() + self.options.max_seconds * (1 - SAMPLING_SHARE)

    def begin_random_part(self) -> None:
        """Give the random part what is left of the time, counted from `begin`."""
        self._deadline = self._began + self.options.max_seconds

    @property
    def needs_random_part(self) -> bool:
        """Whether the budget of the systematic part ended before anything was found."""
        is_open = self.budget_ended is not None and self.failing is None and not self.diverged
        return is_open and self.rehearsal.undecided is None

    @property
    def is_over(self) -> bool:
        """Whether the whole budget of time has been used."""
        return time.perf_counter() > self._began + self.options.max_seconds

    @property
    def left_s(self) -> float:
        """Seconds that are left of the budget; below zero when it has ended."""
        return self._began + self.options.max_seconds - time.perf_counter()

    def give_up(self, reason: str) -> None:
        """Note that nothing can be decided any more."""
        self.rehearsal.undecided = self.rehearsal.undecided or reason

    @property
    def deadline(self) -> float:
        """When the present part ends, as `time.perf_counter` counts."""
        return self._deadline

    def time_is_up(self) -> bool:
        """Tell whether the budget of time has ended, and remember it."""
        if time.perf_counter() <= self._deadline:
            return False
        self.budget_ended = f"{self.options.max_seconds:g} seconds"
        return True

    # What is run next.

    def next_prefix(self) -> Prefix | None:
        """Return the next prefix to run, or None when there is none or the budget of schedules has ended."""
        limit = self.options.max_schedules
        if limit is not None and self.runs * self.factor >= limit and not self.frontier.is_empty:
            self.budget_ended = f"{limit:,} schedules"
            return None
        return self.frontier.pop()

    def random_choosers(self) -> Iterator[Priorities]:
        """Yield choosers for random schedules until one of them fails or the budget has ended.

        A budget of schedules gives a quarter of its number to them, on top; a small one as many again.
        """
        limit = self.options.max_schedules
        for number in range(_MANY if limit is None else max(limit // 4, min(limit, 50))):
            if self.failing is not None or time.perf_counter() > self._deadline:
                return
            yield Priorities(self.options.seed * 1_000_003 + number, len(self.first_run))

    # What came of it.

    def names_to_judge(self, result: RunResult) -> Iterator[dict[str, str]]:
        """Yield every renaming of identical requests under which a run must be right (see `symmetry`).

        While a renaming is out, `result.responses` holds the answers under these names.
        """
        original = result.responses
        for renaming in symmetry.renamings(self.twins, original):
            result.responses = symmetry.renamed(original, renaming) if renaming else original
            if self.options.collect_outcomes:
                self.outcomes.add((frozen(result.responses), frozen(result.state)))
            yield renaming

    def note(self, chooser: Follow, result: RunResult, prefix_length: int) -> bool:
        """Note what a run came to and file its alternatives; tell whether the search is over."""
        self.runs += 1
        if not self.first_run:
            self.first_run = chooser.steps
        self.was_cut |= chooser.was_cut
        if not self.rehearsal.everybody_accepted:
            self.rehearsal.note_answers(result)
        if result.cut is not None:
            self.cut = self.cut or result.cut
        self._escaped_in_a_row = self._escaped_in_a_row + 1 if result.escaped else 0
        if self._escaped_in_a_row > MOST_ESCAPED:
            return True
        if result.failure is not None:
            if self.failing is None:
                self._note_failure(chooser, result.failure)
            if self.options.stop_at_first:
                return True
        self.frontier.expand(chooser, prefix_length)
        return False

    def note_random_run(self, chooser: Chooser, result: RunResult) -> None:
        """Note what a random run came to. Random priorities are not fair, so a livelock proves nothing."""
        if result.failure is not None and result.failure.kind != "livelock":
            self.found_by_sampling = True
            self._note_failure(chooser, result.failure)

    def _note_failure(self, chooser: Chooser, failure: Failure) -> None:
        self.failing = (Schedule(chooser.steps).renamed(self.renaming), failure)

    def note_other_result(self, steps: list[Step], failure: Failure) -> None:
        """Note that a run which failed once passed when it was run again."""
        self.diverged = (
            f"the schedule {Schedule(steps)} failed once ({failure}) and passed when it was run again"
        )

    @property
    def needs_unreduced_search(self) -> bool:
        """Whether a failure under swapped names did not replay: then `invariant` does more than read."""
        return self.diverged is not None and self.failing is not None and self.factor > 1
