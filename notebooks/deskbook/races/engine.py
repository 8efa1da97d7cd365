"""One search from its first run to its report, in process.

The parts: a `Frontier` says which prefix comes next, `InProcess` runs it, a judge looks at the result. This
module ties them together, keeps the budget, and turns a failing run into a counterexample: made smaller,
replayed to be sure, recorded line by line.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import symmetry
from .errors import Diverged
from .http_request import Request
from .minimise import minimise
from .oracles import Serializable
from .outcome import Failure, frozen
from .report import Counterexample, Report, Verdict
from .sampling import Priorities
from .scenario import InProcess, RunResult, Scenario, judge_with
from .schedule import is_environment, render, request_of
from .search import Follow, Frontier, Lenient, Prefix, Redundant
from .threads import ControlledCall
from .timeline import Recorder, Timeline

#: Share of the time budget that is kept for random schedules, in case the systematic search does not finish.
SAMPLING_SHARE = 0.2

#: How often the clock is looked at, in runs.
_RUNS_BETWEEN_LOOKS = 16


@dataclass(frozen=True)
class Options:
    """What a search may do and for how long; see `explore` for the meaning of each."""

    oracle: str | None = None
    preemption_bound: int | None = None
    max_seconds: float = 10.0
    max_schedules: int | None = None
    cancel: Sequence[str] = ()
    clock: str = "explored"
    clock_jumps: Sequence[float] = ()
    max_steps: int = 2_000
    reduce: bool = True
    seed: int = 0
    stop_at_first: bool = True
    collect_outcomes: bool = False


class Search:
    """A search over the interleavings of one scenario.

    Args:
        scenario: what to run.
        options: how far to go.
    """

    #: What a step is, for the report.
    level = "at every await"

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
        self._serializable: Serializable | None = None
        self._deadline = math.inf

    def slices(self) -> Any:
        """Search; a generator that yields now and then, so that the caller can let its own loop run."""
        started = time.perf_counter()
        self._deadline = started + self.options.max_seconds * (1 - SAMPLING_SHARE)
        with self.runner.in_control():
            self._prepare()
            self._judge = self._make_judge()
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
                self._sample()

    def _prepare(self) -> None:
        self.runner.warm_up()
        if self.options.oracle == "serializable":
            self._serializable = Serializable(self.scenario, self.options.cancel)
            cancellable, self.runner.cancellable = self.runner.cancellable, ()
            for job in self._serializable.jobs():
                self.runner.run(job.chooser, job.judge, only=job.order)
            self.runner.cancellable = cancellable
        self.runner.loop.set_symmetry(self.twins)

    def _make_judge(self) -> Callable[[RunResult], Failure | None]:
        if self._serializable is not None and self.scenario.invariant is None:
            return self._serializable.judge
        if self._serializable is not None:
            return _both(self._serializable.judge, judge_with(self.runner, self.scenario.invariant))
        return judge_with(self.runner, self.scenario.invariant)

    def _judge_all_names(self, result: RunResult) -> Failure | None:
        """Judge a run under every renaming of identical requests (see `symmetry`)."""
        original = result.responses
        for renaming in symmetry.renamings(self.twins, original):
            result.responses = symmetry.renamed(original, renaming) if renaming else original
            if self.options.collect_outcomes:
                self.outcomes.add(self._outcome(result))
            failure = self._judge(result)
            if failure is not None:
                self._renaming = renaming
                return failure
        return None

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
        return self.make_report(found)

    def make_report(self, found: Counterexample | None) -> Report:
        """Return the report for a counterexample, or for none."""
        verdict, covers = self._verdict(found)
        by_time = self.budget_ended is not None and self.options.max_schedules is None
        speed_dependent = by_time or self.found_by_sampling
        return Report(
            verdict=verdict,
            covers=covers,
            schedules=None if speed_dependent else self.runs * self.factor,
            total=self.runs * self.factor if verdict == "exhausted" else self._closed_form(),
            runs=self.runs,
            counterexample=found,
            notes=self._notes(),
            outcomes=frozenset(self.outcomes),
        )

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

    def _verdict(self, found: Counterexample | None) -> tuple[Verdict, str]:
        if found is not None:
            return "counterexample", "one interleaving is enough"
        if self.diverged is not None:
            return "inconclusive", "a schedule could not be repeated, so nothing is proven"
        if self.ungated():
            return "inconclusive", "real I/O ran outside the explorer's control, so nothing is proven"
        if self.budget_ended is not None:
            tried = (
                ""
                if self.options.max_schedules is None
                else f"{self.runs * self.factor:,} schedules were tried, "
            )
            return (
                "inconclusive",
                f"the budget of {self.budget_ended} ended first; {tried}no counterexample so far",
            )
        if self._serializable is not None and not self._serializable.is_complete:
            return "inconclusive", "there are too many sequential orders to compare with"
        count = self.runs * self.factor
        tried = f"all {count:,} interleavings" if count != 1 else "the only interleaving"
        level = self._level()
        if not self.frontier.is_empty:
            bound = self.options.preemption_bound
            most = "1 preemption" if bound == 1 else f"{bound} preemptions"
            chosen = "; where several waited for one lock, the server chose" if self.server_chose() else ""
            return "bounded", f"{tried} with at most {most} were tried, {level}{chosen}"
        if self.was_cut:
            return (
                "bounded",
                f"{tried} in which no request spins for long while others wait were tried, {level}",
            )
        if self.server_chose():
            return (
                "bounded",
                f"{tried} were tried, {level}; where several waited for one lock, the server chose",
            )
        if self.clock_was_held_back():
            return (
                "bounded",
                f"{tried} in which the clock moves only when nothing can run were tried, {level}",
            )
        return "exhausted", f"{tried} {'was' if count == 1 else 'were'} tried, {level}"

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

    def _level(self) -> str:
        parts = [f"{self.level} of {_listed(self.scenario.names)} in one process"]
        if self.options.cancel:
            parts.append(f"with {_listed(self.options.cancel)} cancelled at any step or not at all")
        if self.options.clock_jumps:
            jumps = ", ".join(f"{jump:g} s" for jump in self.options.clock_jumps)
            parts.append(f"with the clock jumping ({jumps}) at any step")
        return ", ".join(parts)

    def _closed_form(self) -> int | None:
        """Return (sum of steps)! / product of (steps of each)!: exact where no request blocks another."""
        if any(is_environment(step) for step in self.first_run) or not self.first_run or self.options.cancel:
            return None
        counts: dict[str, int] = {}
        for step in self.first_run:
            if step != request_of(step):
                return None
            counts[step] = counts.get(step, 0) + 1
        return math.factorial(sum(counts.values())) // math.prod(
            math.factorial(count) for count in counts.values()
        )

    def _notes(self) -> list[str]:
        notes = []
        if self.diverged is not None:
            notes.append(f"DIVERGED: {self.diverged}")
        notes.extend(self.ungated())
        if self.scenario.reset is not None:
            notes.append("one app was used for all schedules; `reset` is trusted to put everything back")
        if self.factor > 1:
            groups = "; ".join(_listed(names) for names in self.twins)
            notes.append(f"{groups} are identical, so one run stands for {self.factor} interleavings")
        if self.found_by_sampling:
            notes.append("found by a random schedule, so it may have more preemptions than needed")
        total = self._closed_form()
        if self.budget_ended is not None and total is not None:
            notes.append(f"if no request ever waited for another there would be {total:,} interleavings")
        if self.failing is None and self.level == Search.level:
            notes.append("asyncio itself would run some of these orders only with real I/O in between")
        return notes


_SLICE_S = 0.05


def _both(
    first: Callable[[RunResult], Failure | None], second: Callable[[RunResult], Failure | None]
) -> Callable[[RunResult], Failure | None]:
    return lambda result: first(result) or second(result)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def record(
    runner: InProcess,
    judge: Callable[[RunResult], Failure | None],
    steps: Sequence[str],
    *,
    strict: bool = True,
) -> tuple[Counterexample, Failure | None]:
    """Run a schedule once more, noting every line; return the run and why it fails, if it does.

    Raises:
        Diverged: if the schedule cannot be followed.
    """
    scenario = runner.scenario
    chooser = Follow(steps) if strict else Lenient(steps)
    recorder = Recorder(scenario.observe)
    runner.watcher = recorder
    runner.loop.on_step = recorder.on_step
    ControlledCall.on_line = staticmethod(recorder.line)
    try:
        result = runner.run(chooser, judge)
    finally:
        runner.watcher = None
        runner.loop.on_step = None
        ControlledCall.on_line = None
    schedule = render(chooser.steps)
    timeline = Timeline(
        names=scenario.names,
        titles=describe_requests(scenario),
        schedule=schedule,
        steps=recorder.steps,
        failure=result.failure,
        blocked=recorder.blocked,
    )
    run = Counterexample(
        steps=tuple(chooser.steps),
        schedule=schedule,
        failure=result.failure or Failure("none", "this schedule breaks no rule"),
        preemptions=chooser.cost,
        responses=result.responses,
        recorded=timeline,
    )
    return run, result.failure


def describe_requests(scenario: Scenario) -> dict[str, str]:
    """Return name -> what the request is, such as "POST /withdraw"."""
    return {name: _title(request) for name, request in scenario.requests.items()}


def _title(request: Any) -> str:
    if isinstance(request, Request):
        return str(request)
    name = getattr(request, "__name__", "")
    return "" if name == "<lambda>" else name
