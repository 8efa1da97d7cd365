"""How much longer, larger or more often: one bar a variant, each from zero."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.ticker import FuncFormatter

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import INK, RUNS, course_style, new_figure, set_finding


def bars(values: Mapping[str, float], finding: str, *, x_label: str, base: float | None = None) -> Picture:
    """Draw ratios, counts or sizes as horizontal bars; the longest one has the look of the worse run.

    The bars begin at zero, so that one of twice the length stands for twice the value. Where values differ so
    much that the short ones vanish, `points` shows them on a logarithmic axis.

    Args:
        values: Name -> value of at least 0, top to bottom.
        finding: What the picture shows, in a sentence without measured numbers.
        x_label: What the bars measure.
        base: Value to draw a line at, such as 1 where each bar is a ratio to something that is not drawn.

    Raises:
        ValueError: There is no value, none above 0, or one below 0.
    """
    if not values or min(values.values()) < 0 or max(values.values()) <= 0:
        raise ValueError("Bars need at least one value above 0, and none must be below 0.")
    longest = max(values.values())
    with course_style():
        figure, (axes,) = new_figure(1.7 + 0.5 * len(values))
        for place, value in enumerate(values.values()):
            look = RUNS[0] if value == longest else RUNS[1]
            axes.barh(place, value, height=0.62, color=look.fill, edgecolor=look.edge, hatch=look.hatch)
            axes.annotate(f" {short_number(value)}", (value, place), va="center", fontsize=12)
        if base is not None:
            axes.axvline(base, color=INK, linestyle=(0, (1, 1.5)), linewidth=1.6)
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlim(0, max(longest, base or 0) * 1.12)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(x_label)
        axes.grid(axis="x")
        set_finding(figure, finding)
        return Picture(figure, f"{x_label[:1].upper()}{x_label[1:]}: {', '.join(values)}. {finding}")


def short_number(value: float) -> str:
    """Return two digits that count: 0.052 and 360, where the format alone would say 3.6e+02."""
    return f"{float(f'{value:.2g}'):,g}"
