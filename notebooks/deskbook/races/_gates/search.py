"""One search against real servers, from its first run to its report.

It goes from prefix to prefix as the search in process does, by a `Progress` of its own. What differs is the
runner, which waits for real servers, so this search is a coroutine.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

from deskbook.races._errors import Diverged, NotStarted
from deskbook.races._gates.base import Gate
from deskbook.races._gates.recorder import GatedRecorder
from deskbook.races._gates.runner import AsyncJudge, GatedRunner
from deskbook.races._schedule import Schedule, Step
from deskbook.races._search.chooser import Run
from deskbook.races._search.frontier import Follow, Lenient
from deskbook.races._search.judges import failure_of_error, failure_of_value, judge_without_check
from deskbook.races._search.minimise import Attempt, minimise_async
from deskbook.races._search.options import Options
from deskbook.races._search.progress import Progress
from deskbook.races._search.rehearsal import RehearsedRun
from deskbook.races._search.verdict import make_report
from deskbook.races._search.watchdog import TookTooLong, Watchdog
from deskbook.races._story.outcome import Failure
from deskbook.races._story.report import Counterexample, Report
from deskbook.races._story.run_result import RunResult
from deskbook.races._story.timeline import Timeline
from deskbook.races._subject.scenario import Scenario

#: How often a schedule is tried that the server's choice between several waiters did not let happen.
ATTEMPTS = 20

#: Candidates that are tried to make a counterexample smaller: each takes milliseconds against a server.
_CANDIDATES = 30


async def explore_gated(scenario: Scenario, options: Options, gate: Gate) -> Report:
    """Search the interleavings of server operations; see `explore`."""
    search = GatedSearch(scenario, options, gate)
    gate.install()
    try:
        return await search.run()
    finally:
        gate.remove()


async def replay_gated(
    scenario: Scenario, options: Options, gate: Gate, steps: Sequence[Step], *, strict: bool
) -> Counterexample:
    """Run one schedule of server operations; see `replay`."""
    search = GatedSearch(scenario, options, gate)
    gate.install()
    try:
        return await search.replay(steps, strict=strict)
    finally:
        gate.remove()


class RoundRobin:
    """Lets the requests take turns, so that each of them opens the connections that it needs."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def choose(self, options: Sequence[Step], run: Run) -> Step:
        """Return the option that ran least; see `chooser.Chooser`."""
        step = min(options, key=lambda option: (self.steps.count(option), option.text))
        self.steps.append(step)
        return step

    def step_was_invisible(self) -> None:
        """Do nothing: this run has no alternatives to forget."""


class GatedSearch:
    """A search over the interleavings of server operations.

    Args:
        scenario: What to run.
        options: How far to go.
        gate: What stops the operations.
    """

    def __init__(self, scenario: Scenario, options: Options, gate: Gate) -> None:
        self._progress = Progress(scenario, options, f"at {gate.level}")
        self._scenario = scenario
        self._options = options
        self._gate = gate
        self._runner = GatedRunner(
            scenario,
            gate,
            options.cancel,
            explore_clock=options.clock == "explored",
            max_steps=options.max_steps,
        )
        self._judge_first = judge_without_check(scenario.invariant, self._progress.serializable)

    async def run(self) -> Report:
        """Search and report."""
        progress, runner = self._progress, self._runner
        progress.begin()
        watchdog = Watchdog(self._options.max_seconds)
        watchdog.__enter__()
        try:
            try:
                await self._prepare()
                progress.begin_systematic_part()
                if progress.rehearsal.undecided is None:
                    await self._search()
                if progress.needs_random_part:
                    progress.begin_random_part()
                    await self._sample()
            except Diverged as error:
                progress.diverged = str(error)
            except (NotStarted, TookTooLong) as error:
                progress.give_up(str(error))
            runner.set_symmetry(())
            found = await self._counterexample(*progress.failing) if progress.failing is not None else None
        finally:
            watchdog.__exit__()
            await runner.close()
            await self._gate.close()
        progress.notes = sorted(runner.standstill.notes | self._gate.notes)
        progress.server_chose = runner.standstill.server_chose
        progress.bounds = sorted(runner.bounds)
        return make_report(progress, found)

    async def _prepare(self) -> None:
        # Connections are opened here, not in the explored region: a handshake is no step of the service.
        await self._gate.open()
        await self._runner.run(RoundRobin(), lambda result: None)
        progress = self._progress
        for rehearsed in progress.rehearsal.runs(has_seeds=False):
            await self._rehearse(rehearsed)
        if progress.serializable is not None and progress.rehearsal.undecided is None:
            for run in progress.serializable.sequential_runs():
                if progress.is_over:
                    progress.serializable.is_complete = False
                    break
                await self._runner.run(run.chooser, run.note, order=run.order)
        self._runner.set_symmetry(progress.twins)

    async def _rehearse(self, rehearsed: RehearsedRun) -> None:
        is_full = len(rehearsed.order) == len(self._scenario.names)
        rule = self._judge if is_full and self._progress.serializable is None else _no_judgement
        result = await self._runner.run(rehearsed.chooser, rule, order=rehearsed.order)
        rehearsed.note(result)
        self._progress.rehearsal.note_failure(rehearsed.order, result.failure)

    async def _search(self) -> None:
        progress = self._progress
        while (prefix := progress.next_prefix()) is not None:
            progress.renaming = {}
            start = functools.partial(Follow, prefix.steps, expected=prefix.options)
            chooser, result = await self._run_again(start, self._judge_all_names)
            if progress.note(chooser, result, len(prefix.steps)) or progress.time_is_up():
                return

    async def _sample(self) -> None:
        progress = self._progress
        for chooser in progress.random_choosers():
            progress.renaming = {}
            progress.note_random_run(chooser, await self._runner.run(chooser, self._judge_all_names))

    async def _run_again(
        self, make_chooser: Callable[[], Follow], judge: AsyncJudge
    ) -> tuple[Follow, RunResult]:
        """Run a schedule; where the server chose another waiter than last time, ask it again."""
        for attempt in itertools.count(1):
            chooser = make_chooser()
            try:
                return chooser, await self._runner.run(chooser, judge)
            except Diverged:
                if attempt == ATTEMPTS or not self._runner.standstill.server_chose:
                    raise
        raise AssertionError("unreachable")

    async def _judge_all_names(self, result: RunResult) -> Failure | None:
        for renaming in self._progress.names_to_judge(result):
            failure = await self._judge(result)
            if failure is not None:
                self._progress.renaming = renaming
                return failure
        return None

    async def _judge(self, result: RunResult) -> Failure | None:
        failure = None if self._judge_first is None else self._judge_first(result)
        check = self._scenario.invariant
        if failure is not None or check is None:
            return failure
        try:
            value = await self._runner.call(check, result.app, result.responses)
        except Exception as error:
            return failure_of_error(error)
        return failure_of_value(value)

    async def _counterexample(self, steps: Sequence[Step], failure: Failure) -> Counterexample | None:
        try:
            smaller = await minimise_async(steps, functools.partial(self._attempt, failure), most=_CANDIDATES)
            return await self._record(smaller, failure)
        except Diverged as error:
            self._progress.diverged = str(error)
            return None

    async def _attempt(self, failure: Failure, wish: Sequence[Step]) -> Attempt:
        chooser, result = await self._run_again(lambda: Lenient(wish), self._judge)
        same = result.failure is not None and result.failure.kind == failure.kind
        return (chooser.steps, chooser.cost) if same else None

    async def _record(self, steps: list[Step], failure: Failure) -> Counterexample | None:
        recorder = GatedRecorder(self._runner)

        def start_over() -> Follow:
            recorder.start_over()
            return Follow(steps)

        self._runner.on_step = recorder.on_step
        try:
            chooser, result = await self._run_again(start_over, self._judge)
        finally:
            self._runner.on_step = None
        if result.failure is None:
            self._progress.note_other_result(steps, failure)
            return None
        return self._told(recorder, chooser, result)

    def _told(self, recorder: GatedRecorder, chooser: Follow, result: RunResult) -> Counterexample:
        recorder.note_endings(result)
        schedule = Schedule(chooser.steps)
        timeline = Timeline(
            names=self._scenario.names,
            titles=self._scenario.titles,
            schedule=str(schedule),
            steps=recorder.steps,
            failure=result.failure,
        )
        failure = result.failure or Failure("none", "this schedule breaks no rule")
        return Counterexample.of(schedule, failure, chooser.cost, result.responses, timeline)

    async def replay(self, steps: Sequence[Step], *, strict: bool) -> Counterexample:
        """Run one schedule and note its statements.

        Args:
            steps: The schedule, as a person wrote it.
            strict: Refuse a schedule that cannot be followed; False skips the steps that cannot run.

        Raises:
            Diverged: If the schedule cannot be followed.
        """
        recorder = GatedRecorder(self._runner)

        def start_over() -> Follow:
            recorder.start_over()
            chooser = Follow(steps) if strict else Lenient(steps)
            chooser.by_hand = True
            return chooser

        try:
            await self._gate.open()
            await self._runner.run(RoundRobin(), lambda result: None)
            self._runner.on_step = recorder.on_step
            return self._told(recorder, *await self._run_again(start_over, self._judge))
        finally:
            self._runner.on_step = None
            await self._runner.close()
            await self._gate.close()


def _no_judgement(result: RunResult) -> None:
    return None
