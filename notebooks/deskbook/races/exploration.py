"""The public functions: `explore`, `explore_sync`, `replay`, `can_overlap`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from .engine import Search
from .in_process import InProcess
from .judging import judge_with
from .options import Options
from .recording import record
from .report import Counterexample, Report
from .scenario import Scenario
from .schedule import parse


async def explore(
    make_app: Callable[[], Any],
    requests: Mapping[str, Any],
    *,
    invariant: Callable[..., Any] | None = None,
    oracle: Literal["serializable"] | None = None,
    observe: Callable[[Any], Any] | None = None,
    reset: Callable[..., Any] | None = None,
    preemption_bound: int | None = None,
    max_seconds: float = 10.0,
    max_schedules: int | None = None,
    cancel: Sequence[str] = (),
    clock: Literal["explored", "idle"] = "explored",
    clock_jumps: Sequence[float] = (),
    gate: Any = None,
    send: Literal["asgi", "httpx"] = "asgi",
    reduce: bool = True,
    seed: int = 0,
    max_steps: int = 2_000,
    stop_at_first: bool = True,
    collect_outcomes: bool = False,
) -> Report:
    """Run requests against an application in every order that their awaits allow.

    Args:
        make_app: returns a fresh application, or any object for service functions; called for every schedule.
        requests: name -> `post("/path", json=...)`, or a function that returns an awaitable (called with the
            application if it takes an argument).
        invariant: `check(app, responses)`, sync or async, called after every schedule. It fails by an
            assertion or by returning False. `responses` maps each name to an `httpx.Response`, a result or an
            exception. It must
            only read: it may be called several times for one run.
        oracle: "serializable": every outcome (responses and observed state) must equal that of a sequential
            order. With neither invariant nor oracle, unhandled exceptions and deadlocks are counterexamples.
        observe: returns the state to compare and to show, best a dict. Default: the plain values of
            `app.state`.
        reset: puts one application back before every schedule, instead of making a new one. Faster, and
            trusted.
        preemption_bound: the highest number of preemptions to try; None for all interleavings.
        max_seconds: budget of time; the last fifth goes to random schedules (PCT).
        max_schedules: budget of schedules, for reports that do not depend on the machine.
        cancel: names of requests whose task may be cancelled, once, at any step after their start. This is
            what a timeout or a cancelled scope does. It is not a client that goes away: uvicorn lets a
            handler finish.
        clock: "explored": the virtual clock may move while requests could run. "idle": only when nothing can
            run, which hides late arrivals, so the best verdict is then `bounded`.
        clock_jumps: seconds that the clock may jump, each once, at any step: for a TTL that no timer stands
            for.
        gate: `SQLAlchemyGate`, `AsyncpgGate` or `RedisGate`: real servers, one statement or command a step.
        send: "asgi" calls the application; "httpx" goes through `httpx.AsyncClient`, which is slower.
        reduce: treat identical requests as interchangeable (see `symmetry`).
        seed: for the random schedules.
        max_steps: steps of one run after which it counts as a livelock.
        stop_at_first: end at the first counterexample.
        collect_outcomes: keep the set of different outcomes in `report.outcomes`.

    Returns:
        A report; nothing is raised for a counterexample. `report.assert_no_race()` does that.

    Raises:
        ValueError: for names that a schedule cannot spell, or a `cancel` name that is not a request.

    Example:
        report = await explore(make_app, {"A": post("/withdraw"), "B": post("/withdraw")}, invariant=check)
    """
    scenario = Scenario(make_app, requests, invariant=invariant, observe=observe, reset=reset, send=send)
    options = Options(
        oracle=oracle,
        preemption_bound=preemption_bound,
        max_seconds=max_seconds,
        max_schedules=max_schedules,
        cancel=tuple(cancel),
        clock=clock,
        clock_jumps=tuple(clock_jumps),
        max_steps=max_steps,
        reduce=reduce,
        seed=seed,
        stop_at_first=stop_at_first,
        collect_outcomes=collect_outcomes,
    )
    if gate is not None:
        from .gates.engine import explore_gated

        return await explore_gated(scenario, options, gate)
    search = Search(scenario, options)
    for _ in search.slices():
        await asyncio.sleep(0)
    report = search.report()
    if search.needs_unreduced_search:
        return await explore(
            make_app, requests, invariant=invariant, oracle=oracle, observe=observe, reset=reset,
            preemption_bound=preemption_bound, max_seconds=max_seconds, max_schedules=max_schedules,
            cancel=cancel, clock=clock, clock_jumps=clock_jumps, send=send, reduce=False, seed=seed,
            max_steps=max_steps, stop_at_first=stop_at_first, collect_outcomes=collect_outcomes,
        )  # fmt: skip
    return report


def explore_sync(make_app: Callable[[], Any], requests: Mapping[str, Any], **options: Any) -> Report:
    """Do what `explore` does, from code without a running loop.

    Raises:
        RuntimeError: if a loop is running; use `await explore(...)` there.
    """
    return asyncio.run(explore(make_app, requests, **options))


def replay(
    make_app: Callable[[], Any],
    requests: Mapping[str, Any],
    *,
    schedule: str,
    invariant: Callable[..., Any] | None = None,
    observe: Callable[[Any], Any] | None = None,
    reset: Callable[..., Any] | None = None,
    cancel: Sequence[str] = (),
    clock_jumps: Sequence[float] = (),
    send: Literal["asgi", "httpx"] = "asgi",
    max_steps: int = 2_000,
    strict: bool = True,
) -> Counterexample:
    """Run one schedule and note every line; the same schedule gives the same run every time.

    The schedule may be shorter than the run: the requests then finish without further preemptions. A schedule
        that
    cancels or moves the clock needs the same `cancel` and `clock_jumps` as the search that found it.

    Args:
        schedule: such as "A2 B3 A".
        make_app: as in `explore`, like all that follow.
        requests: the same names as in the search.
        invariant: called at the end of the run.
        observe: the state to show.
        reset: puts one application back.
        cancel: names that the schedule cancels; found in the schedule itself by default.
        clock_jumps: seconds that the schedule jumps.
        send: "asgi" or "httpx".
        max_steps: steps after which the run counts as a livelock.
        strict: refuse a schedule that cannot be followed. False skips the steps that cannot run, for
            code that has changed since the schedule was found.

    Returns:
        The run: `.failure`, `.responses`, `.timeline()`.

    Raises:
        BadSchedule: if the schedule cannot be read.
        Diverged: if the schedule cannot be followed.
    """
    steps = parse(schedule)
    scenario = Scenario(make_app, requests, invariant=invariant, observe=observe, reset=reset, send=send)
    mentioned = [step[7:-1] for step in steps if step.startswith("cancel(")]
    runner = InProcess(
        scenario,
        cancellable=tuple(cancel) or tuple(dict.fromkeys(mentioned)),
        clock_jumps=clock_jumps,
        max_steps=max_steps,
    )
    with runner.in_control():
        try:
            runner.warm_up()
            run, _ = record(runner, judge_with(runner, invariant), steps, strict=strict)
        finally:
            runner.close()
    return run
