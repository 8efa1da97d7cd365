"""One search against real servers, from its first run to its report.

The search is the same as in process (`engine.Search`): the same frontier, the same bounds, the same report.
What differs is the runner, which waits for real servers, so it is a coroutine.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from .. import symmetry
from ..engine import Search
from ..errors import Diverged
from ..judging import crash, first_line
from ..minimise import minimise_async
from ..options import Options
from ..oracles import Serializable
from ..outcome import Failure
from ..recording import describe_requests
from ..report import Counterexample, Report
from ..run_result import RunResult
from ..sampling import Priorities
from ..scenario import Scenario
from ..schedule import render
from ..search import Follow, Lenient
from ..timeline import Step, Timeline, flat
from ..verdict import make_report
from .base import Gate
from .runner import GatedRunner

#: How often a schedule is tried that the server's choice between several waiters did not let happen.
ATTEMPTS = 20


async def explore_gated(scenario: Scenario, options: Options, gate: Gate) -> Report:
    """Search the interleavings of server operations; see `explore`."""
    gate.install()
    try:
        search = GatedSearch(scenario, options, gate)
        return await search.run()
    finally:
        gate.remove()


class RoundRobin(Follow):
    """Lets the requests take turns, so that each of them opens the connections that it needs."""

    def choose(self, options: Sequence[str], loop: Any) -> str:
        """Return the option that ran least."""
        step = min(options, key=lambda option: (self.steps.count(option), option))
        self.steps.append(step)
        return step


class GatedSearch(Search):
    """A search over the interleavings of server operations.

    Args:
        scenario: what to run.
        options: how far to go.
        gate: what stops the operations.
    """

    def __init__(self, scenario: Scenario, options: Options, gate: Gate) -> None:
        super().__init__(scenario, options)
        self.level = f"at {gate.level}"
        self._gate = gate
        self._real = GatedRunner(scenario, gate, options.cancel)

    async def run(self) -> Report:
        """Search and report."""
        started = time.perf_counter()
        try:
            try:
                await self._open()
                self._deadline = time.perf_counter() + self.options.max_seconds * 0.8
                await self._search()
                if self.budget_ended and self.failing is None and not self.diverged:
                    self._deadline = started + self.options.max_seconds
                    await self._sample_real()
            except Diverged as error:
                self.diverged = str(error)
            self._real.set_symmetry(())
            found = await self._real_counterexample() if self.failing is not None else None
        finally:
            await self._real.close()
            await self._gate.close()
        return make_report(self, found)

    async def _open(self) -> None:
        # Connections are opened here, not in the explored region: a handshake is no step of the service.
        await self._gate.open()
        await self._real.run(RoundRobin(), lambda result: None)
        if self.options.oracle == "serializable":
            self.serializable = Serializable(self.scenario, self.options.cancel)
            cancellable, self._real.cancellable = self._real.cancellable, ()
            for job in self.serializable.jobs():
                await self._real.run(job.chooser, job.judge, only=job.order)
            self._real.cancellable = cancellable
        self._real.set_symmetry(self.twins)

    async def _search(self) -> None:
        while (prefix := self.next_prefix()) is not None:
            self._renaming = {}
            try:
                start = functools.partial(Follow, prefix.steps, expected=prefix.options)
                chooser, result = await self._run_again(start, self._judge_real)
            except Diverged as error:
                self.diverged = str(error)
                return
            if self.note(chooser, result, len(prefix.steps)) or self.time_is_up():
                return

    async def _run_again(
        self, make_chooser: Callable[[], Follow], judge: Callable[[RunResult], Any]
    ) -> tuple[Follow, RunResult]:
        """Run a schedule; where the server chose another waiter than last time, ask it again."""
        for attempt in itertools.count(1):
            chooser = make_chooser()
            try:
                return chooser, await self._real.run(chooser, judge)
            except Diverged:
                if attempt == ATTEMPTS or not self._real.server_chose:
                    raise
        raise AssertionError("unreachable")

    async def _sample_real(self) -> None:
        limit = self.options.max_schedules
        for number in range(1_000_000 if limit is None else max(20, limit // 4)):
            if time.perf_counter() > self._deadline:
                return
            chooser = Priorities(self.options.seed * 1_000_003 + number, len(self.first_run))
            self._renaming = {}
            result = await self._real.run(chooser, self._judge_real)
            if result.failure is not None:
                self.found_by_sampling = True
                self.failing = (symmetry.rename_steps(chooser.steps, self._renaming), result.failure)
                return

    async def _judge_real(self, result: RunResult) -> Failure | None:
        original = result.responses
        for renaming in symmetry.renamings(self.twins, original):
            result.responses = symmetry.renamed(original, renaming) if renaming else original
            if self.options.collect_outcomes:
                self.outcomes.add(self._outcome(result))
            failure = await self._judge_once(result)
            if failure is not None:
                self._renaming = renaming
                return failure
        return None

    async def _judge_once(self, result: RunResult) -> Failure | None:
        if self.serializable is not None:
            failure = self.serializable.judge(result)
            if failure is not None:
                return failure
        check = self.scenario.invariant
        if check is None:
            return None if self.serializable is not None else crash(result)
        try:
            verdict = check(result.app, result.responses)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        except AssertionError as error:
            return Failure(
                "invariant", first_line(error) or "the invariant failed (an assert without a message)"
            )
        except Exception as error:
            return Failure("invariant", f"the invariant raised {type(error).__name__}: {error}")
        return Failure("invariant", "the invariant returned False") if verdict is False else None

    async def _real_counterexample(self) -> Counterexample | None:
        assert self.failing is not None
        steps, failure = self.failing

        async def attempt(wish: Sequence[str]) -> tuple[list[str], int] | None:
            chooser, result = await self._run_again(lambda: Lenient(wish), self._judge_once)
            same = result.failure is not None and result.failure.kind == failure.kind
            return (chooser.steps, chooser.cost) if same else None

        try:
            steps = await minimise_async(steps, attempt, most=30)
            return await self._record(steps, failure)
        except Diverged as error:
            self.diverged = str(error)
            return None

    async def _record(self, steps: Sequence[str], failure: Failure) -> Counterexample | None:
        recorded: list[Step] = []
        observe = self.scenario.observe
        state: dict[str, str] = {}

        async def on_step(actor: str, label: str, note: str) -> None:
            nonlocal state
            step = Step(len(recorded) + 1, actor)
            step.lines.append(("", "", label))
            if note:
                step.lines.append(("", "", note))
            if observe is not None:
                self._gate.table, table = None, self._gate.table
                now = flat(await self._real.call(observe, self._real.app))
                self._gate.table = table
                step.changed = (
                    [name for name, value in now.items() if state.get(name) != value] if recorded else []
                )
                step.state = state = now
            recorded.append(step)

        def start_over() -> Follow:
            recorded.clear()
            return Follow(steps)

        self._real.on_step = on_step
        try:
            chooser, result = await self._run_again(start_over, self._judge_once)
        finally:
            self._real.on_step = None
        if result.failure is None:
            self.diverged = (
                f"the schedule {render(steps)} failed once ({failure}) and passed when it was run again"
            )
            return None
        _note_endings(recorded, result)
        timeline = Timeline(
            names=self.scenario.names,
            titles=describe_requests(self.scenario),
            schedule=render(chooser.steps),
            steps=recorded,
            failure=result.failure,
        )
        return Counterexample(
            tuple(chooser.steps), timeline.schedule, result.failure, chooser.cost, result.responses, timeline
        )

    def ungated(self) -> list[str]:
        """Return a sentence for what ran outside of the explorer's control."""
        return sorted(self._real.notes | self._gate.notes)

    def server_chose(self) -> bool:
        """Tell whether the server decided which of several waiting requests went on."""
        return self._real.server_chose

    def clock_was_held_back(self) -> bool:
        """Return False: against real servers the clock is the real one."""
        return False


def _note_endings(steps: Sequence[Step], result: RunResult) -> None:
    from ..outcome import describe

    for name, value in result.responses.items():
        for step in reversed(steps):
            if step.request == name:
                step.ended = describe(value)
                break
