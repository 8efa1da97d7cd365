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

from . import frames
from .in_process import InProcess
from .run_result import RunResult
from .scenario import Scenario
from .schedule import is_environment, request_of
from .search import Follow


@dataclass(frozen=True)
class Stop:
    """One place where a request was held while another tried to finish.

    Attributes:
        held: the request that stood still.
        at: the source line at which it stood.
        other: the request that tried to finish.
        finished: whether it could.
        waits_at: where it had to wait, or "".
    """

    held: str
    at: str
    other: str
    finished: bool
    waits_at: str = ""


@dataclass(frozen=True)
class Overlap:
    """The answer of `can_overlap`; true in a condition if the requests can overlap.

    Attributes:
        stops: every place that was tried.
        everywhere: whether the other request could finish at every place.
        somewhere: whether it could at one place at least.
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
            f"  while {stop.held} stands at «{stop.at}», {stop.other} waits at «{stop.waits_at}»"
            for stop in waiting
        )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()


class _HoldAt(Follow):
    """Runs one request for some steps, holds it, runs the other as far as it goes, then lets go."""

    __slots__ = ("at", "finished", "held", "other", "places", "waits_at")

    def __init__(self, held: str, other: str, places: int) -> None:
        super().__init__()
        self.held = held
        self.other = other
        self.places = places
        self.at = ""
        self.waits_at = ""
        self.finished: bool | None = None

    def choose(self, options: Sequence[str], loop: Any) -> str:
        """Return a step of the request whose turn it is."""
        mine = [step for step in options if request_of(step) == self.held and not is_environment(step)]
        others = [step for step in options if request_of(step) == self.other and not is_environment(step)]
        is_over = loop.roots[self.held].done()
        if self.places > 0 and not is_over:
            self.places -= 1
            step = (mine or list(options))[0]
        elif self.finished is None and not is_over:
            self.at = self.at or frames.position(loop.roots[self.held])
            clock = [step for step in options if step == "clock"]
            if loop.roots[self.other].done():
                self.finished = True
                step = options[0]
            elif others:
                step = others[0]
            elif clock and not mine:
                step = clock[0]
            else:
                self.finished = False
                self.waits_at = frames.position(loop.roots[self.other])
                step = options[0]
        else:
            step = options[0]
        self.steps.append(step)
        return step


def can_overlap(
    make_app: Callable[[], Any],
    requests: Mapping[str, Any],
    *,
    reset: Callable[..., Any] | None = None,
    max_places: int = 100,
) -> Overlap:
    """Ask whether requests that have nothing to do with each other can be under way at the same time.

    Args:
        make_app: returns a fresh application, as in `explore`.
        requests: two or more independent requests, such as withdrawals from two different accounts.
        reset: puts one application back, as in `explore`.
        max_places: suspension points of a request at which it is held, at most.

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
                    stops.extend(_places(runner, held, other, max_places))
        runner.close()
    return Overlap(tuple(stops))


def _places(runner: InProcess, held: str, other: str, max_places: int) -> list[Stop]:
    stops = []
    for places in range(1, max_places + 1):
        chooser = _HoldAt(held, other, places)
        runner.run(chooser, _no_judgement, only=(held, other))
        if chooser.finished is None and not chooser.at:
            break  # the held request ends before it could be held once more
        stops.append(Stop(held, chooser.at, other, chooser.finished is not False, chooser.waits_at))
    return stops


def _no_judgement(result: RunResult) -> None:
    return None
