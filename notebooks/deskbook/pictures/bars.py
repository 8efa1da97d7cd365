"""How much longer, larger or more often: one bar a variant, on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import RUNS, course_style, new_figure, set_finding

#: Between values closer together than this, powers of ten are too few marks to read from.
CLOSE_TOGETHER = 50


def bars(values: Mapping[str, float], finding: str, *, x_label: str, base: float | None = None) -> Picture:
    """Draw ratios or counts as horizontal bars; the longest one has the look of the worse run.

    Args:
        values: name -> ratio or count above 0, top to bottom.
        finding: what the picture shows, in a sentence without measured numbers.
        x_label: what the bars measure.
        base: value at which every bar begins, such as 1 for ratios of which some are below it.

    Raises:
        ValueError: there is no value, or one that is not above 0.
    """
    if not values or min(values.values()) <= 0:
        raise ValueError("Bars need at least one value, and each must be above 0.")
    longest = max(values.values())
    with course_style():
        figure, (axes,) = new_figure(1.7 + 0.5 * len(values))
        start = min(1.0, min(values.values()) / 2)
        begin = start if base is None else base
        for place, value in enumerate(values.values()):
            look = RUNS[0] if value == longest else RUNS[1]
            axes.barh(
                place,
                value - begin,
                left=begin,
                height=0.62,
                color=look.fill,
                edgecolor=look.edge,
                hatch=look.hatch,
            )
            axes.annotate(f" {_short(value)}", (max(value, begin), place), va="center", fontsize=12)
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.set_xlim(start, max(longest, begin) * 1.6)
        if longest / start < CLOSE_TOGETHER:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(x_label)
        axes.grid(axis="x")
        set_finding(figure, finding)
        return Picture(figure, f"{x_label[:1].upper()}{x_label[1:]}: {', '.join(values)}. {finding}")


def _short(value: float) -> str:
    """Return two digits that count: 0.052 and 360, where the format alone would say 3.6e+02."""
    return f"{float(f'{value:.2g}'):,g}"
