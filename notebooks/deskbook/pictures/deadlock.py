"""Two kinds of places that are all taken, each by those who wait for the other kind."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import RUNS, Look, course_style, new_figure, set_finding

ROW_PLACES = 20


@dataclass(frozen=True)
class Held:
    """Places of one kind, all of them taken.

    Attributes:
        places: How many there are.
        name: What they are, such as "threads".
        wanted: What each holder waits for, such as "a connection".
    """

    places: int
    name: str
    wanted: str


def deadlock(first: Held, second: Held, finding: str) -> Picture:
    """Draw two kinds of places below each other, one square a place, with an arrow to what the holders want.

    Args:
        first: The kind on top; its holders wait for the second.
        second: The kind below; its holders wait for the first.
        finding: What the picture shows, in a sentence.

    Raises:
        ValueError: There are no places of a kind.
    """
    if min(first.places, second.places) < 1:
        raise ValueError("A deadlock needs at least one place of each kind.")
    with course_style():
        figure, (axes,) = new_figure(3.9)
        axes.set_axis_off()
        bottom = _draw(axes, first, RUNS[0], 0.0)
        lowest = _draw(axes, second, RUNS[1], bottom + 1.9)
        last_column = min(ROW_PLACES, first.places, second.places) - 0.5
        between = (bottom - 0.05, bottom + 1.9)
        for x, (start, end) in ((last_column - 1, between), (last_column, between[::-1])):
            arrow = {"arrowstyle": "-|>", "lw": 2.4, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (x, end), (x, start), arrowprops=arrow)
        middle = (0, bottom + 0.85)
        axes.annotate("the two groups wait for each other, and nobody moves", middle, fontweight="bold")
        axes.set_xlim(-0.1, ROW_PLACES + 0.1)
        axes.set_ylim(lowest + 0.1, -1.1)
        set_finding(figure, finding)
        kinds = "; ".join(_meaning(held) for held in (first, second))
        return Picture(figure, f"{kinds}. {finding}")


def _draw(axes: Axes, held: Held, look: Look, top: float) -> float:
    """Draw one kind from `top` downwards and return where it ends."""
    axes.annotate(_meaning(held), (0, top - 0.25))
    for place in range(held.places):
        row, column = divmod(place, ROW_PLACES)
        axes.add_patch(
            Rectangle(
                (column + 0.08, top + row + 0.06),
                0.84,
                0.84,
                facecolor=look.fill,
                edgecolor=look.edge,
                hatch=look.hatch,
            )
        )
    return top + -(-held.places // ROW_PLACES)


def _meaning(held: Held) -> str:
    return f"{held.places} {held.name}: each held by a request that waits for {held.wanted}"
