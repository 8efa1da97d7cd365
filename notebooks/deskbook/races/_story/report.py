"""What a search says: the verdict, what exactly it covers, and the counterexample.

Four verdicts, and only the first two end a discussion:

* `counterexample`: here is a run that breaks the rule.
* `exhausted`: every interleaving was tried, at the level that the report names, for these requests.
* `bounded`: every interleaving was tried up to a bound that the report names.
* `inconclusive`: the budget ended first, or something escaped the explorer's control.

Reports are compared between runs and machines (nbval, golden files), so they hold no times, ids or paths, and
a number of schedules only where it does not depend on the speed of the machine.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deskbook.races._schedule import Schedule
from deskbook.races._story.answers import Answers
from deskbook.races._story.outcome import Failure
from deskbook.races._story.timeline import Timeline

Verdict = Literal["counterexample", "exhausted", "bounded", "inconclusive"]


class RaceFound(AssertionError):
    """A counterexample, raised by `Report.assert_no_race`."""


class NotProven(AssertionError):
    """The search could not decide, raised by `Report.assert_no_race`."""


@dataclass(frozen=True)
class Counterexample:
    """A run that breaks the rule.

    Attributes:
        steps: The schedule, one step an item.
        schedule: The schedule as text, such as "A2 B3 A".
        failure: Why the run is wrong.
        preemptions: Switches away from a request that could have gone on, plus cancellations and early
            ticks of the clock.
        responses: What the requests were answered.
        recorded: The run with its lines and states.
    """

    steps: tuple[str, ...]
    schedule: str
    failure: Failure
    preemptions: int
    responses: dict[str, Any]
    recorded: Timeline

    @classmethod
    def of(
        cls,
        schedule: Schedule,
        failure: Failure,
        preemptions: int,
        responses: dict[str, Any],
        recorded: Timeline,
    ) -> Counterexample:
        """Return the counterexample for the schedule of a run."""
        steps = tuple(step.text for step in schedule)
        return cls(steps, str(schedule), failure, preemptions, responses, recorded)

    @property
    def switches(self) -> int:
        """How often the run changes from one request to another."""
        return Schedule.parse(self.schedule).switches

    def timeline(self) -> Timeline:
        """Return the run; in a notebook it shows as swimlanes, elsewhere as text."""
        return self.recorded


@dataclass
class Report:
    """The answer of `explore`.

    Attributes:
        verdict: "counterexample", "exhausted", "bounded" or "inconclusive".
        covers: One sentence that says what the verdict covers.
        schedules: Interleavings that were tried (each identical request's renamings counted), None where the
            number depends on the speed of the machine.
        total: How many interleavings there are, where that is known.
        runs: How often the requests were really run.
        counterexample: The run that breaks the rule, or None.
        notes: What the reader must know to trust the verdict.
        outcomes: The different outcomes that were seen, if they were collected.
        answers: What each request answers alone and in order, and what ran beside; `print(report.answers)`.
        fails_in_sequence: Whether the rule fails without any concurrency too, so that this is no race.
    """

    verdict: Verdict
    covers: str
    schedules: int | None
    total: int | None
    runs: int
    counterexample: Counterexample | None = None
    notes: Sequence[str] = ()
    outcomes: frozenset[Any] = field(default_factory=frozenset, repr=False)
    answers: Answers = field(default_factory=Answers, repr=False)
    fails_in_sequence: bool = False

    @property
    def is_proven(self) -> bool:
        """Whether every interleaving was tried and none breaks the rule."""
        return self.verdict == "exhausted"

    def assert_no_race(self, *, allow_bounded: bool = True, allow_inconclusive: bool = False) -> Report:
        """Return the report if no counterexample was found.

        Args:
            allow_bounded: Accept a search that covered everything up to its bound.
            allow_inconclusive: Accept a search whose budget ended first.

        Raises:
            RaceFound: With the text timeline.
            NotProven: When nothing was found but the search did not cover what was asked.
        """
        if self.counterexample is not None:
            raise RaceFound("\n" + self.text())
        allowed = {"exhausted"} | ({"bounded"} if allow_bounded else set())
        allowed |= {"inconclusive"} if allow_inconclusive else set()
        if self.verdict not in allowed:
            raise NotProven("\n" + self.text())
        return self

    def summary(self) -> str:
        """Return the verdict in one or two sentences."""
        found = self.counterexample
        if found is None:
            return f"{self.verdict}: {self.covers}"
        count = f" (schedule {self.schedules:,} that was tried)" if self.schedules is not None else ""
        if self.fails_in_sequence:
            return f"counterexample without any concurrency{count}: {found.failure}"
        steps = "1 preemption" if found.preemptions == 1 else f"{found.preemptions} preemptions"
        return f"counterexample with {steps}{count}: {found.failure}"

    def text(self) -> str:
        """Return the whole report as plain text."""
        out = [self.summary()]
        out.extend(f"note: {note}" for note in self.notes)
        if self.counterexample is not None:
            out.append(self.counterexample.recorded.text())
        return "\n".join(out)

    def html(self) -> str:
        """Return the report as HTML, with the swimlanes of the counterexample."""
        colour = {"counterexample": "#b3261e", "exhausted": "#1b7f3b", "bounded": "#1b6ac9"}.get(
            self.verdict, "#8a5a00"
        )
        # JupyterLab sets what stands between two dollar signs as mathematics: the $1 and $2 of a statement.
        opening = '<p class="mathjax_ignore tex2jax_ignore">' if "$" in self.summary() else "<p>"
        parts = [
            f'{opening}<strong style="color:{colour}">{html.escape(self.verdict)}</strong>'
            f"{html.escape(self.summary()[len(self.verdict) :])}</p>"
        ]
        if self.notes:
            parts.append("<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in self.notes) + "</ul>")
        if self.counterexample is not None:
            parts.append(self.counterexample.recorded.html())
        return "\n".join(parts)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.html()
