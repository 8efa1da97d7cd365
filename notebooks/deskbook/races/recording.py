"""Run one schedule once more and note it, line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .http_request import Request
from .in_process import InProcess
from .outcome import Failure
from .recorder import Recorder
from .report import Counterexample
from .run_result import RunResult
from .scenario import Scenario
from .schedule import render
from .search import Follow, Lenient
from .threads import ControlledCall
from .timeline import Timeline


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
