"""Who holds the event loop when: one row a task or request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import STATE_MEANINGS, STATES, course_style, new_figure, set_finding, set_legend

State = Literal["running", "waiting", "blocked", "thread"]


@dataclass(frozen=True)
class Span:
    """A task was in one state from `start_s` to `end_s`."""

    start_s: float
    end_s: float
    state: State


@dataclass(frozen=True)
class Row:
    """One task or request and what it did."""

    label: str
    spans: Sequence[Span]

    def seconds(self, state: State) -> float:
        """Return how long it was in the state, in seconds."""
        return sum(span.end_s - span.start_s for span in self.spans if span.state == state)


def timeline(rows: Sequence[Row], finding: str, *, meanings: Mapping[State, str] | None = None) -> Picture:
    """Draw what each task did, over time.

    Args:
        rows: Top to bottom; times in seconds on any clock, zero is the earliest of them.
        finding: What the picture shows, in a sentence without measured numbers.
        meanings: What the states stand for, where the rows are not tasks that share an event loop.

    Raises:
        ValueError: There is nothing to draw.
    """
    spans = [span for row in rows for span in row.spans]
    if not spans:
        raise ValueError("A timeline needs at least one row with one span.")
    begin_s = min(span.start_s for span in spans)
    with course_style():
        figure, (axes,) = new_figure(1.9 + 0.42 * len(rows))
        for place, row in enumerate(rows):
            _draw(axes, place, row, begin_s)
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("time (ms)")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        words: dict[str, str] = STATE_MEANINGS | dict(meanings or {})
        shown = {span.state for span in spans}
        set_legend(figure, [_key(state, words[state]) for state in STATES if state in shown])
        set_finding(figure, finding)
        return Picture(figure, f"Timeline of {_counted(rows)}. {finding}")


def _draw(axes: Axes, place: int, row: Row, begin_s: float) -> None:
    # Running goes on top and has a width one can see: what holds the loop briefly still holds it.
    for span in sorted(row.spans, key=lambda span: span.state == "running"):
        look = STATES[span.state]
        axes.barh(
            place,
            (span.end_s - span.start_s) * 1000,
            left=(span.start_s - begin_s) * 1000,
            height=0.66,
            color=look.fill,
            edgecolor=look.edge,
            hatch=look.hatch,
            linewidth=1.6 if span.state == "running" else 0.6,
        )


def _key(state: str, meaning: str) -> Patch:
    look = STATES[state]
    return Patch(facecolor=look.fill, edgecolor=look.edge, hatch=look.hatch, label=meaning)


def _counted(rows: Sequence[Row]) -> str:
    """Return the labels, neighbours of the same name counted: "1 GET /report, 5 GET /quotes"."""
    groups = [(label, len(list(group))) for label, group in groupby(row.label for row in rows)]
    if all(number == 1 for _, number in groups):
        return ", ".join(label for label, _ in groups)
    return ", ".join(f"{number} {label}" for label, number in groups)
