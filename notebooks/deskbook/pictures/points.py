"""Values that lie far apart: one point a variant, on a logarithmic axis that says so."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from deskbook.pictures.bars import short_number
from deskbook.pictures.picture import Picture
from deskbook.pictures.style import INK, RUNS, course_style, new_figure, set_finding

#: Between values closer together than this, powers of ten are too few marks to read from.
CLOSE_TOGETHER = 50


def points(values: Mapping[str, float], finding: str, *, x_label: str, base: float | None = None) -> Picture:
    """Draw values as points on a logarithmic axis; the largest one has the look of the worse run.

    A point has no length, so nobody takes twice the distance for twice the value.

    Args:
        values: Name -> value above 0, top to bottom.
        finding: What the picture shows, in a sentence without measured numbers.
        x_label: What the points measure; the axis adds that it is logarithmic.
        base: Value to draw a line at, such as 1 for ratios of which some are below it.

    Raises:
        ValueError: There is no value, or one that is not above 0.
    """
    if not values or min(values.values()) <= 0:
        raise ValueError("Points need at least one value, and on a logarithmic axis each must be above 0.")
    every = [*values.values(), *([] if base is None else [base])]
    with course_style():
        figure, (axes,) = new_figure(1.7 + 0.5 * len(values))
        for place, value in enumerate(values.values()):
            look, marker = (RUNS[0], "v") if value == max(values.values()) else (RUNS[1], "o")
            axes.plot([value], [place], color=look.line, marker=marker, markersize=11, linestyle="none")
            axes.annotate(f"   {short_number(value)}", (value, place), va="center", fontsize=12)
        if base is not None:
            axes.axvline(base, color=INK, linestyle=(0, (1, 1.5)), linewidth=1.6)
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.set_xlim(min(every) / 1.6, max(every) * 1.8)
        if max(every) / min(every) < CLOSE_TOGETHER:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{x_label} (log scale)")
        axes.grid()
        set_finding(figure, finding)
        return Picture(figure, f"{x_label[:1].upper()}{x_label[1:]}: {', '.join(values)}. {finding}")
