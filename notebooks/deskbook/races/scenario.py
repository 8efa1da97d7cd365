"""What is explored: a subject, the requests that meet in it, and how one run of them is judged.

The subject is what `make_app` returns: an ASGI application, or any object that service functions work on. It
is made anew for every schedule, because an `asyncio.Lock` or a cache that lives on would carry one run into
the next. Making it is most of the cost of a short run, so a caller may pass `reset` instead; the explorer
then trusts that `reset` puts everything back, and says so in the report.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from . import asgi
from .base_loop import EPOCH_S, entered
from .errors import Deadlock, Livelock
from .garbage import NoCollection
from .http_request import Request
from .lifespan import Lifespan
from .loop import Chooser, ControlledLoop
from .outcome import Failure, frozen
from .schedule import check_names
from .search import Follow
from .sources import RememberedSources
from .threads import ControlledThreads
from .virtual_time import VirtualTime

Check = Callable[..., Any]
Observe = Callable[[Any], Any]


class Scenario:
    """One question to the explorer.

    Args:
        make_app: returns the subject; may be a coroutine function.
        requests: name -> `Request`, or a function that returns an awaitable, called with the subject if it
            takes an argument.
        invariant: called with the subject and the responses after every run.
        observe: returns the state to compare and to show.
        reset: puts one subject back instead of making a new one for every run.
        send: "asgi" calls the application, "httpx" goes through an `httpx.AsyncClient`.
    """

    def __init__(
        self,
        make_app: Callable[[], Any],
        requests: Mapping[str, Any],
        *,
        invariant: Check | None = None,
        observe: Observe | None = None,
        reset: Check | None = None,
        send: str = "asgi",
    ) -> None:
        if not requests:
            raise ValueError("requests is empty: pass at least one, such as {'A': get('/')}")
        check_names(requests)
        self.make_app = make_app
        self.names = tuple(requests)
        self.requests = dict(requests)
        self.has_http = any(isinstance(value, Request) for value in requests.values())
        self.invariant = invariant
        self.observe = observe
        self.reset = reset
        self.reset_takes_app = reset is not None and takes_an_argument(reset)
        self._call = {"asgi": asgi.call_raw, "httpx": asgi.call_httpx}[send]
        self._starters = {name: self._starter(value) for name, value in requests.items()}

    def _starter(self, value: Any) -> Callable[[Any, Any], Awaitable[Any]]:
        if isinstance(value, Request):
            template = asgi.RequestTemplate(value)
            return lambda app, state: self._call(app, template, state)
        if not callable(value):
            raise TypeError(f"a request must be made with get(), post(), ... or be a function, not {value!r}")
        if takes_an_argument(value):
            return lambda app, state: value(app)
        return lambda app, state: value()

    def start(self, name: str, app: Any, state: dict[str, Any] | None) -> Awaitable[Any]:
        """Return the awaitable of one request."""
        return self._starters[name](app, state)


def takes_an_argument(function: Callable[..., Any]) -> bool:
    """Tell whether a function must be given the subject."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in parameters
    )


class RunResult:
    """What one run came to.

    Attributes:
        responses: name -> response, result or exception; missing where the request never ended.
        failure: why the run is a counterexample, or None.
        state: what `observe` returned.
    """

    __slots__ = ("app", "failure", "responses", "state")

    def __init__(self) -> None:
        self.app: Any = None
        self.responses: dict[str, Any] = {}
        self.state: Any = None
        self.failure: Failure | None = None

    def outcome(self) -> Any:
        """Return the responses and the state in comparable form."""
        return (tuple((name, frozen(value)) for name, value in self.responses.items()), frozen(self.state))


class Watcher(Protocol):
    """Looks at a run while it is recorded."""

    def subject(self, app: Any) -> None:
        """See the subject before its first request."""

    def ended(self, roots: Mapping[str, asyncio.Task[Any]]) -> None:
        """See the requests at the end, before they are cleaned up."""


class InProcess:
    """Runs a scenario in the controlled loop, as often as asked.

    Args:
        scenario: what to run.
        cancellable: names of requests that may be cancelled.
        explore_clock: whether the clock may move while a request could run.
        clock_jumps: further moves of the clock in seconds, each possible once at any step.
        max_steps: steps of one run after which it counts as a livelock.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        cancellable: Sequence[str] = (),
        explore_clock: bool = True,
        clock_jumps: Sequence[float] = (),
        max_steps: int = 2_000,
    ) -> None:
        unknown = [name for name in cancellable if name not in scenario.names]
        if unknown:
            raise ValueError(
                f"cancel names {unknown[0]!r}, which is not one of the requests {list(scenario.names)}"
            )
        self.scenario = scenario
        # mypy takes the methods that `base_loop` adds with setattr for missing ones.
        self.loop = ControlledLoop(  # type: ignore[abstract]
            max_steps=max_steps, explore_clock=explore_clock
        )
        self.ungated: set[str] = set()
        self.clock_was_held_back = False
        self.cancellable = tuple(cancellable)
        self._clock_jumps = tuple(clock_jumps)
        self.watcher: Watcher | None = None
        self._kept: Any = None
        self._kept_lifespan: Lifespan | None = None
        self.time = VirtualTime(self.loop, EPOCH_S)
        self._sources = RememberedSources()
        self._garbage = NoCollection()

    def run(
        self,
        chooser: Chooser,
        judge: Callable[[RunResult], Failure | None],
        *,
        only: Sequence[str] | None = None,
    ) -> RunResult:
        """Run once and judge; must be called with the loop `entered` and `time` patched.

        Args:
            chooser: decides every step.
            judge: looks at the result; called while the loop still runs, so it may use `call`.
            only: the requests to start, in this order; all by default.
        """
        loop = self.loop
        scenario = self.scenario
        self._garbage.between_runs()
        if self._kept is None:
            loop.reset()
        else:
            self._restart_kept()
        self.time.new_run()
        result = RunResult()
        lifespan: Lifespan | None = None
        try:
            app, lifespan = self._subject()
            result.app = app
            if self.watcher is not None:
                self.watcher.subject(app)
            state = lifespan.state if lifespan is not None else None
            names = scenario.names if only is None else only
            for name in names:
                loop.spawn(name, as_coroutine(scenario.start(name, app, state)))
            try:
                loop.run_requests(chooser, cancellable=self.cancellable, clock_jumps=self._clock_jumps)
            except Deadlock as error:
                result.failure = Failure("deadlock", str(error))
            except Livelock as error:
                result.failure = Failure("livelock", str(error))
            for name in names:
                task = loop.roots[name]
                if task.done():
                    result.responses[name] = result_of(task)
            if scenario.observe is not None:
                result.state = self.call(scenario.observe, app)
            if result.failure is None:
                result.failure = judge(result)
        finally:
            loop.exploring = False
            if self.watcher is not None:
                self.watcher.ended(loop.roots)
            if lifespan is not None and lifespan is not self._kept_lifespan:
                self._stop(lifespan)
            loop.finish()
            if loop.ungated:
                self.ungated.update(loop.ungated)
                loop.ungated.clear()
            if loop.clock_was_held_back:
                self.clock_was_held_back = True
        return result

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user's, which may be a coroutine function, outside the explored region."""
        value = function(*args)
        if inspect.isawaitable(value):
            return self.loop.run_setup(as_coroutine(value))
        return value

    @contextlib.contextmanager
    def in_control(self) -> Iterator[None]:
        """Enter everything that a run needs: the loop, the clock, the threads."""
        with entered(self.loop), ControlledThreads(), self.time, self._sources, self._garbage:
            yield

    def warm_up(self) -> None:
        """Run once for nothing: imports and caches that fill on first use make a first run another one."""
        self.run(Follow(), lambda result: None)

    def close(self) -> None:
        """Stop the subject that was kept."""
        if self._kept_lifespan is not None:
            self._stop(self._kept_lifespan)
            self.loop.finish()
            self._kept_lifespan = None

    def _restart_kept(self) -> None:
        loop = self.loop
        keep = [task for task in loop.tasks if not task.done()] if self._kept_lifespan is not None else []
        loop.reset()
        loop.tasks.extend(keep)

    def _subject(self) -> tuple[Any, Lifespan | None]:
        scenario = self.scenario
        if scenario.reset is None:
            app = self.call(scenario.make_app)
            return app, self._start(app)
        if self._kept is None:
            self._kept = self.call(scenario.make_app)
            self._kept_lifespan = self._start(self._kept)
        if scenario.reset_takes_app:
            self.call(scenario.reset, self._kept)
        else:
            self.call(scenario.reset)
        return self._kept, self._kept_lifespan

    def _start(self, app: Any) -> Lifespan | None:
        if not self.scenario.has_http:
            return None
        if not Lifespan.is_needed(app):
            return None
        lifespan = Lifespan(app)
        self.loop.run_setup(lifespan.start())
        return lifespan

    def _stop(self, lifespan: Lifespan) -> None:
        try:
            self.loop.run_setup(lifespan.stop())
        except (Deadlock, Livelock):
            return  # a worker that never ends is cancelled by `finish`


def result_of(task: asyncio.Task[Any]) -> Any:
    """Return the result of a finished task, or its exception."""
    if task.cancelled():
        return asyncio.CancelledError()
    error = task.exception()
    if error is None:
        return task.result()
    # Without its traceback: the frames of a failed run would be kept alive as long as the report.
    error.__traceback__ = None
    return error


def as_coroutine(awaitable: Awaitable[Any]) -> Any:
    """Return an awaitable as something that a task can be made of."""
    if inspect.iscoroutine(awaitable):
        return awaitable
    return _await(awaitable)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def judge_with(runner: InProcess, check: Check | None) -> Callable[[RunResult], Failure | None]:
    """Return a judge that calls the invariant, or, without one, refuses unhandled exceptions."""
    if check is None:
        return crash
    return functools.partial(_judge_invariant, runner, check)


def _judge_invariant(runner: InProcess, check: Check, result: RunResult) -> Failure | None:
    try:
        verdict = runner.call(check, result.app, result.responses)
    except AssertionError as error:
        return Failure("invariant", first_line(error) or "the invariant failed (an assert without a message)")
    except Exception as error:
        return Failure("invariant", f"the invariant raised {type(error).__name__}: {error}")
    return Failure("invariant", "the invariant returned False") if verdict is False else None


def first_line(error: AssertionError) -> str:
    """Return what the author wrote: pytest adds lines with the values, and with addresses that change."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(error).partition("\n")[0])


def crash(result: RunResult) -> Failure | None:
    """Refuse a run in which a request ended with an exception that nobody handled."""
    for name, response in result.responses.items():
        error = response if isinstance(response, BaseException) else None
        if error is None and hasattr(response, "extensions"):
            error = response.extensions.get("exception")
        if error is not None and not isinstance(error, asyncio.CancelledError):
            return Failure("crash", f"request {name} failed with {type(error).__name__}: {error}")
    return None
