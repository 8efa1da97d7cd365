"""Ask for a search or a replay: `explore`, `explore_sync`, `replay`."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from deskbook.races._loop.recorder import record
from deskbook.races._loop.runner import InProcess
from deskbook.races._loop.search import explore_in_process
from deskbook.races._schedule import Schedule, check_schedule
from deskbook.races._search.judges import crash
from deskbook.races._search.options import Options
from deskbook.races._story.report import Counterexample, Report
from deskbook.races._subject.scenario import Scenario

if TYPE_CHECKING:
    from deskbook.races._gates import Gate


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
    gate: Gate | Sequence[Gate] | None = None,
    send: Literal["asgi", "httpx"] = "asgi",
    setup: Sequence[Any] = (),
    reduce: bool = True,
    seed: int = 0,
    max_steps: int = 2_000,
    stop_at_first: bool = True,
    collect_outcomes: bool = False,
) -> Report:
    """Run requests against an application in every order that their awaits allow.

    Args:
        make_app: Returns a fresh application, or any object for service functions; called for every schedule.
        requests: Name -> `post("/path", json=...)`, `in_sequence(...)`, `websocket(...)`, `stream(...)`, or a
            function that returns an awaitable (called with the application if it takes an argument).
        invariant: `check(app, responses)`, sync or async, called after every schedule. It fails by an
            assertion or by returning False. `responses` maps each name to an `httpx.Response`, a result or an
            exception. It must only read: it may be called several times for one run.
        oracle: "serializable": every outcome (responses and observed state) must equal that of a sequential
            order. With neither invariant nor oracle, unhandled exceptions and deadlocks are counterexamples.
        observe: Returns the state to compare and to show, best a dict. Default: the plain values of
            `app.state`.
        reset: Puts one application back before every schedule, instead of making a new one. Faster, and
            trusted.
        preemption_bound: The highest number of preemptions to try; None for all interleavings.
        max_seconds: Budget of time, what comes before the search included; the last fifth goes to random
            schedules (PCT).
        max_schedules: Budget of schedules, for reports that do not depend on the machine; a quarter of it
            again goes to random ones (of a budget below 200 up to 50).
        cancel: Names of requests whose task may be cancelled, once, at any step after their start. This is
            what a timeout or a cancelled scope does. It is not a client that goes away: uvicorn lets a
            handler finish.
        clock: "explored": the virtual clock may move while requests could run. "idle": only when nothing can
            run, which hides late arrivals, so the best verdict is then `bounded`.
        clock_jumps: Seconds that the clock may jump, each once, at any step: for a TTL that no timer stands
            for.
        gate: `SQLAlchemyGate`, `AsyncpgGate` or `RedisGate`: real servers, one statement or command a step.
            A list of them where a service uses several servers: all are steps of one search.
        send: "asgi" calls the application; "httpx" goes through `httpx.AsyncClient`, which is slower.
        setup: Requests that are sent one after the other before every schedule, outside of the search.
        reduce: Treat identical requests as interchangeable, and steps that ran framework code only as steps
            whose place does not matter. False tries every schedule.
        seed: For the random schedules.
        max_steps: Steps after which a run is cut. It is a livelock if it goes round in a circle by then.
        stop_at_first: End at the first counterexample.
        collect_outcomes: Keep the set of different outcomes in `report.outcomes`.

    Returns:
        A report; nothing is raised for a counterexample. `report.assert_no_race()` does that.

    Raises:
        ValueError: For names that a schedule cannot spell, or a `cancel` name that is not a request.

    Example:
        report = await explore(make_app, {"A": post("/withdraw"), "B": post("/withdraw")}, invariant=check)
    """
    scenario = Scenario(
        make_app, requests, invariant=invariant, observe=observe, reset=reset, send=send, setup=setup
    )
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
    if gate is None:
        return await explore_in_process(scenario, options)
    from deskbook.races._gates.search import explore_gated
    from deskbook.races._gates.several import one_gate

    return await explore_gated(scenario, options, one_gate(gate))


def explore_sync(make_app: Callable[[], Any], requests: Mapping[str, Any], **options: Any) -> Report:
    """Do what `explore` does, from code without a running loop.

    Raises:
        RuntimeError: If a loop is running; use `await explore(...)` there.
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
    setup: Sequence[Any] = (),
    gate: Gate | Sequence[Gate] | None = None,
    max_steps: int = 2_000,
    strict: bool = True,
) -> Counterexample:
    """Run one schedule and note every line; the same schedule gives the same run every time.

    The schedule may be shorter than the run: the requests then finish without further preemptions. A schedule
    that cancels or moves the clock needs the same `cancel` and `clock_jumps` as the search that found it.

    Args:
        make_app: As in `explore`, like all that follow.
        requests: The same names as in the search.
        schedule: Such as "A2 B3 A".
        invariant: Called at the end of the run.
        observe: Returns the state to show.
        reset: Puts one application back.
        cancel: Names that the schedule cancels; found in the schedule itself by default.
        clock_jumps: Seconds that the schedule jumps.
        send: "asgi" or "httpx".
        setup: Requests that are sent before the run.
        gate: The gate or gates of the search. Where a loop is running, the run has a loop of its own, in
            another thread.
        max_steps: Steps after which the run counts as a livelock.
        strict: Refuse a schedule that cannot be followed. False skips the steps that cannot run, for
            code that has changed since the schedule was found.

    Returns:
        The run: `.failure`, `.responses`, `.timeline()`.

    Raises:
        BadSchedule: If the schedule cannot be read, or names what is no request.
        Diverged: If the schedule cannot be followed.
    """
    steps = Schedule.parse(schedule)
    check_schedule(schedule, steps, tuple(requests))
    scenario = Scenario(
        make_app, requests, invariant=invariant, observe=observe, reset=reset, send=send, setup=setup
    )
    if gate is not None:
        from deskbook.races._gates.search import replay_gated
        from deskbook.races._gates.several import one_gate

        options = Options(cancel=tuple(cancel) or steps.cancelled, max_steps=max_steps)
        return _run(replay_gated(scenario, options, one_gate(gate), steps, strict=strict))
    runner = InProcess(
        scenario,
        cancellable=tuple(cancel) or steps.cancelled,
        clock_jumps=clock_jumps,
        max_steps=max_steps,
    )
    judge = crash if invariant is None else runner.judge_by(invariant)
    with runner.in_control():
        try:
            runner.warm_up()
            run, _ = record(runner, judge, steps, strict=strict, by_hand=True)
        finally:
            runner.close()
    return run


def _run(coroutine: Coroutine[Any, Any, Counterexample]) -> Counterexample:
    """Run a coroutine on a loop of its own, also where one is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
