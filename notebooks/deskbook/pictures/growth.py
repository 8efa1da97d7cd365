"""How a count grows. On a logarithmic scale a straight line is a factor, and a bent one a sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import RUNS, course_style, new_figure, set_finding, set_legend


def growth(
    runs: Mapping[str, Sequence[tuple[int, int]]],
    finding: str,
    *,
    x_label: str,
    y_label: str,
    scale: Literal["log", "linear"] = "log",
) -> Picture:
    """Draw how one to three counts grow with another count.

    Args:
        runs: Name -> (count, value) pairs in rising order; the fastest growing run first.
        finding: What the picture shows, in a sentence.
        x_label: What is counted along the bottom.
        y_label: What grows.
        scale: Scale of the y axis; "linear" where the growth is a sum.

    Raises:
        ValueError: No run, more than three, a run without a point, or a value below 1.
    """
    if not 1 <= len(runs) <= len(RUNS) or not all(runs.values()):
        raise ValueError(f"Growth takes one to {len(RUNS)} runs that each have at least one point.")
    if any(value < 1 for points in runs.values() for _, value in points):
        raise ValueError("Growth counts something: every value must be at least 1.")
    with course_style():
        figure, (axes,) = new_figure(4.4)
        for look, (name, points) in zip(RUNS, runs.items(), strict=False):
            counts, values = zip(*points, strict=True)
            axes.plot(
                counts,
                values,
                color=look.line,
                linestyle=look.line_style,
                linewidth=2.5,
                marker="o",
                label=name,
            )
            axes.annotate(
                f"{values[-1]:,}", (counts[-1], values[-1]), (7, 0), textcoords="offset points", va="center"
            )
        axes.set_yscale(scale)
        axes.margins(x=0.12)
        axes.set_ylim(*_limits(max(value for points in runs.values() for _, value in points), scale))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        thousands = FuncFormatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_major_formatter(thousands)
        axes.yaxis.set_major_formatter(thousands)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid()
        set_legend(figure, axes.lines)
        set_finding(figure, finding)
        return Picture(
            figure, f"{y_label[:1].upper()}{y_label[1:]} by {x_label}: {', '.join(runs)}. {finding}"
        )


def _limits(largest: int, scale: str) -> tuple[float, float]:
    """Return the ends of the y axis: all of the growth from its start, and room for the largest point."""
    return (1, 1.3 * largest**1.05) if scale == "log" else (0, 1.07 * largest)
