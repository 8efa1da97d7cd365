"""One search in process, from its first run to its report.

The parts: `Progress` says which prefix comes next and what is left of the budget, `InProcess` runs it, a
judge looks at the result. This module ties them together, and turns a failing run into a counterexample: made
smaller, replayed to be sure, recorded line by line.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterator, Sequence

from deskbook.races._errors import Diverged, NotStarted
from deskbook.races._loop.recorder import record
from deskbook.races._loop.runner import InProcess
from deskbook.races._schedule import Step
from deskbook.races._search.frontier import Follow, Lenient, Redundant
from deskbook.races._search.judges import Judge, judge_without_check
from deskbook.races._search.minimise import Attempt, minimise
from deskbook.races._search.options import Options
from deskbook.races._search.progress import Progress
from deskbook.races._search.rehearsal import RehearsedRun
from deskbook.races._search.verdict import EVERY_AWAIT, make_report
from deskbook.races._search.watchdog import GRACE_S, TookTooLong, Watchdog
from deskbook.races._story.outcome import Failure
from deskbook.races._story.report import Counterexample, Report
from deskbook.races._story.run_result import RunResult
from deskbook.races._subject.scenario import Scenario

#: How often the clock is looked at, in runs.
_RUNS_BETWEEN_LOOKS = 16

#: Seconds of search after which the caller's own loop may run.
_SLICE_S = 0.05


async def explore_in_process(scenario: Scenario, options: Options) -> Report:
    """Search the interleavings at every await; see `explore`."""
    search = InProcessSearch(scenario, options)
    for _ in search.slices():
        await asyncio.sleep(0)
    report = search.report()
    if search.progress.needs_unreduced_search:
        return await explore_in_process(scenario, dataclasses.replace(options, reduce=False))
    return report


class InProcessSearch:
    """A search over the interleavings of one scenario.

    Args:
        scenario: What to run.
        options: How far to go.
    """

    def __init__(self, scenario: Scenario, options: Options) -> None:
        self.progress = Progress(scenario, options, EVERY_AWAIT)
        self._scenario = scenario
        self._options = options
        self._runner = InProcess(
            scenario,
            cancellable=options.cancel,
            explore_clock=options.clock == "explored",
            clock_jumps=options.clock_jumps,
            max_steps=options.max_steps,
        )
        #: What a run without any concurrency must hold too; one that is compared with itself always does.
        self._rule: Judge | None = None if self.progress.serializable is not None else self._make_judge()
        self._judge = self._make_judge()

    def slices(self) -> Iterator[None]:
        """Search; pause now and then, so that the caller can let its own loop run."""
        self.progress.begin()
        with Watchdog(self._options.max_seconds):
            try:
                yield from self._slices()
            except (NotStarted, TookTooLong) as error:
                self.progress.give_up(str(error))

    def _slices(self) -> Iterator[None]:
        progress = self.progress
        progress.begin_systematic_part()
        try:
            with self._runner.in_control():
                self._prepare()
        except Diverged as error:
            progress.diverged = str(error)
            return
        yield
        if progress.rehearsal.undecided is not None or progress.rehearsal.escaped:
            return
        while progress.failing is None or not self._options.stop_at_first:
            with self._runner.in_control():
                more = self._search_for(_SLICE_S)
            if not more:
                break
            yield
        if progress.needs_random_part:
            progress.begin_random_part()
            with self._runner.in_control():
                try:
                    self._sample()
                except Diverged as error:
                    progress.diverged = str(error)
        if progress.failing is None and progress.diverged is None:
            with self._runner.in_control():
                self._runner.loop.set_symmetry(())
                self._rehearse(progress.rehearsal.closing_run())

    def report(self) -> Report:
        """Return the report of a search that has ended."""
        progress, runner = self.progress, self._runner
        found = None
        with runner.in_control(), Watchdog(progress.left_s):
            runner.loop.set_symmetry(())
            try:
                if progress.failing is not None:
                    found = self._counterexample(*progress.failing)
                runner.close()
            except (NotStarted, TookTooLong) as error:
                progress.give_up(str(error))
        if runner.ungated:
            used = ", ".join(sorted(runner.ungated))
            progress.notes.append(f"NOT UNDER CONTROL: the code used {used}; pass a gate for real servers")
        progress.stubs_asked = sorted(runner.unsuspended.places)
        progress.is_stubbed = runner.unsuspended.is_of_a_stub
        if runner.bystanders.found:
            beside = ", ".join(sorted(runner.bystanders.found))
            progress.notes.append(f"NOT UNDER CONTROL: {beside} ran beside the requests")
            progress.rehearsal.answers.beside.append(beside)
        progress.clock_was_held_back = runner.clock_was_held_back
        progress.was_bounded = runner.was_bounded
        progress.clients_left = runner.clients_left
        return make_report(progress, found)

    def _prepare(self) -> None:
        progress, runner = self.progress, self._runner
        for rehearsed in progress.rehearsal.runs(has_seeds=True):
            if progress.is_over:
                progress.give_up(
                    f"the budget of {self._options.max_seconds:g} seconds ended before the search"
                )
                return
            self._rehearse(rehearsed)
        if progress.serializable is not None and progress.rehearsal.undecided is None:
            for run in progress.serializable.sequential_runs():
                if progress.is_over:
                    progress.serializable.is_complete = False
                    break
                run.note(runner.run(run.chooser, _no_judgement, order=run.order))
        runner.loop.set_symmetry(progress.twins)

    def _rehearse(self, rehearsed: RehearsedRun) -> None:
        # A rule is asked of full runs alone: it may look for the answer of every request.
        is_full = len(rehearsed.order) == len(self._scenario.names)
        judge = self._rule if self._rule is not None and is_full else _no_judgement
        result = self._runner.run(
            rehearsed.chooser,
            judge,
            order=rehearsed.order,
            seed=rehearsed.seed,
            is_watched=rehearsed.is_watched,
        )
        rehearsed.note(result)
        self.progress.rehearsal.note_failure(rehearsed.order, result.failure)

    def _make_judge(self) -> Judge:
        check = self._scenario.invariant
        first = judge_without_check(check, self.progress.serializable)
        then = None if check is None else self._runner.judge_by(check)
        if first is None or then is None:
            only = first or then
            assert only is not None
            return only
        return lambda result: first(result) or then(result)

    def _judge_all_names(self, result: RunResult) -> Failure | None:
        found = None
        for renaming in self.progress.names_to_judge(result):
            if found is None and (found := self._judge(result)) is not None:
                self.progress.renaming = renaming
            if found is not None and not self._options.collect_outcomes:
                break
        return found

    def _search_for(self, seconds: float) -> bool:
        """Run schedules for a while; tell whether there are more to run."""
        progress, run = self.progress, self._runner.run
        reduce = self._options.reduce
        until = min(time.perf_counter() + seconds, progress.deadline)
        # Without twins there is one way to name the requests, and asking for it costs as much as judging.
        judge = self._judge_all_names if progress.twins or self._options.collect_outcomes else self._judge
        while (prefix := progress.next_prefix()) is not None:
            chooser = Follow(prefix.steps, prunes=reduce, reduce=reduce, expected=prefix.options)
            progress.renaming = {}
            try:
                result = run(chooser, judge)
            except Redundant:
                continue
            except Diverged as error:
                progress.diverged = str(error)
                return False
            if progress.note(chooser, result, len(prefix.steps)):
                return False
            if progress.runs % _RUNS_BETWEEN_LOOKS == 0 and time.perf_counter() > until:
                return not progress.time_is_up()
        return False

    def _sample(self) -> None:
        """Try random schedules with what is left of the budget."""
        progress = self.progress
        judge = self._judge_all_names if progress.twins else self._judge
        for chooser in progress.random_choosers():
            progress.renaming = {}
            progress.note_random_run(chooser, self._runner.run(chooser, judge))

    def _counterexample(self, steps: Sequence[Step], failure: Failure) -> Counterexample | None:
        smaller = minimise(steps, lambda wish: self._attempt(wish, failure))
        try:
            found, again = record(self._runner, self._judge, smaller)
        except Diverged as error:
            self.progress.diverged = str(error)
            return None
        if again is None:
            self.progress.note_other_result(smaller, failure)
            return None
        return found

    def _attempt(self, wish: Sequence[Step], failure: Failure) -> Attempt:
        if self.progress.left_s < -GRACE_S / 2:
            return None  # a counterexample that is not the smallest is better than one that comes too late
        chooser = Lenient(wish)
        try:
            result = self._runner.run(chooser, self._judge)
        except Diverged:
            return None
        if result.failure is None or result.failure.kind != failure.kind:
            return None
        return chooser.steps, chooser.cost


def _no_judgement(result: RunResult) -> None:
    return None
