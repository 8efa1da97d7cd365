"""Can two requests be under way at the same time, or does one big lock make them queue?

A lock over everything removes every race, and with it every reason to have an async server. So a fix must
also pass this question: for two requests that have nothing to do with each other, can B start and finish
while A stands still in its middle? A is stopped at each of its suspension points in turn, B is run as far as
it goes, and the answer says at which points B had to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from deskbook.races import _frames as frames
from deskbook.races._loop.runner import InProcess
from deskbook.races._schedule import CLOCK, Step
from deskbook.races._search.chooser import Run
from deskbook.races._search.frontier import Follow
from deskbook.races._story.outcome import describe
from deskbook.races._story.run_result import RunResult, result_of
from deskbook.races._subject.scenario import Scenario


@dataclass(frozen=True)
class Stop:
    """One place where a request was held while another tried to finish.

    Attributes:
        held: The request that stood still.
        at: The source line at which it stood.
        other: The request that tried to finish.
        finished: Whether it could. A request that crashed, or that was refused although it is accepted when
            it is alone, did not.
        waits_at: Where it had to wait, or "".
        failed_with: What it was answered instead of its usual answer, or "".
    """

    held: str
    at: str
    other: str
    finished: bool
    waits_at: str = ""
    failed_with: str = ""


@dataclass(frozen=True)
class Overlap:
    """The answer of `can_overlap`; true in a condition if the requests can overlap.

    Attributes:
        stops: Every place that was tried.
        everywhere: Whether the other request could finish at every place.
        somewhere: Whether it could at one place at least.
    """

    stops: tuple[Stop, ...]

    @property
    def everywhere(self) -> bool:
        """Whether each request could finish wherever the other one stood."""
        return bool(self.stops) and all(stop.finished for stop in self.stops)

    @property
    def somewhere(self) -> bool:
        """Whether a request could finish at one place of another at least."""
        return any(stop.finished for stop in self.stops)

    def __bool__(self) -> bool:
        return self.everywhere

    def text(self) -> str:
        """Return one line for each place at which a request had to wait."""
        if not self.stops:
            return "the requests never wait, so nothing can overlap"
        waiting = [stop for stop in self.stops if not stop.finished]
        if not waiting:
            return f"the requests can overlap: each finished at all {len(self.stops)} places of the other one"
        lines = [f"the requests cannot overlap at {len(waiting)} of {len(self.stops)} places:"]
        lines.extend(
            f"  while {stop.held} stands at «{stop.at}», {stop.other} {_obstacle(stop)}" for stop in waiting
        )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()


def _obstacle(stop: Stop) -> str:
    return f"fails: {stop.failed_with}" if stop.failed_with else f"waits at «{stop.waits_at}»"


class _HoldAt:
    """Runs one request for some steps, holds it, runs the other as far as it goes, then lets go.

    Args:
        held: The request to hold.
        other: The request to run meanwhile.
        places: Steps of `held` before it is held.

    Attributes:
        at: Where it was held, or "" if it ended before.
        finished: Whether the other one could finish; None if that was not tried.
        waits_at: Where the other one had to wait, or "".
        failed_with: What the other one was answered instead of its usual answer, or "".
    """

    def __init__(self, held: str, other: str, places: int, usual: Any) -> None:
        self.failed_with = ""
        self._usual = usual
        self.steps: list[Step] = []
        self.at = ""
        self.waits_at = ""
        self.finished: bool | None = None
        self._held = held
        self._other = other
        self._places = places

    def choose(self, options: Sequence[Step], run: Run) -> Step:
        """Return a step of the request whose turn it is; see `chooser.Chooser`."""
        step = self._chosen(options, run)
        self.steps.append(step)
        return step

    def step_was_invisible(self) -> None:
        """Do nothing: this run has no alternatives to forget."""

    def _chosen(self, options: Sequence[Step], run: Run) -> Step:
        actors = [step for step in options if not step.is_environment]
        mine = [step for step in actors if step.request == self._held]
        others = [step for step in actors if step.request == self._other]
        is_over = run.roots[self._held].done()
        if self._places > 0 and not is_over:
            self._places -= 1
            return (mine or options)[0]
        if self.finished is not None or is_over:
            return options[0]
        self.at = self.at or frames.position(run.roots[self._held])
        if run.roots[self._other].done():
            answer = result_of(run.roots[self._other])
            self.finished = _is_accepted(answer) or not _is_accepted(self._usual)
            if not self.finished:
                self.failed_with = describe(answer)
        elif others:
            return others[0]
        elif CLOCK in options and not mine:
            return CLOCK
        else:
            self.finished = False
            self.waits_at = frames.position(run.roots[self._other])
        return options[0]


def can_overlap(
    make_app: Callable[[], Any],
    requests: Mapping[str, Any],
    *,
    reset: Callable[..., Any] | None = None,
    max_places: int = 100,
) -> Overlap:
    """Ask whether requests that have nothing to do with each other can be under way at the same time.

    Args:
        make_app: Returns a fresh application, as in `explore`.
        requests: Two or more independent requests, such as withdrawals from two different accounts.
        reset: Puts one application back, as in `explore`.
        max_places: Suspension points of a request at which it is held, at most.

    Returns:
        An `Overlap`: true if every request can finish wherever another one stands still. Where a short common
        lock is right, ask for `.somewhere`.
    """
    runner = InProcess(Scenario(make_app, requests, reset=reset))
    names = runner.scenario.names
    stops = []
    with runner.in_control():
        runner.warm_up()
        for held in names:
            for other in names:
                if held != other:
                    usual = runner.run(Follow(), _no_judgement, order=(other,)).responses.get(other)
                    stops.extend(_places(runner, held, other, max_places, usual))
        runner.close()
    return Overlap(tuple(stops))


def _places(runner: InProcess, held: str, other: str, max_places: int, usual: Any) -> list[Stop]:
    stops = []
    for places in range(1, max_places + 1):
        chooser = _HoldAt(held, other, places, usual)
        runner.run(chooser, _no_judgement, order=(held, other))
        if chooser.finished is None and not chooser.at:
            break  # the held request ends before it could be held once more
        finished = chooser.finished is not False
        stops.append(Stop(held, chooser.at, other, finished, chooser.waits_at, chooser.failed_with))
    return stops


def _is_accepted(answer: Any) -> bool:
    """Tell whether a request was served, as opposed to one that crashed or was refused."""
    if isinstance(answer, httpx.Response):
        return answer.status_code < 400 and "exception" not in answer.extensions
    return not isinstance(answer, BaseException)


def _no_judgement(result: RunResult) -> None:
    return None
