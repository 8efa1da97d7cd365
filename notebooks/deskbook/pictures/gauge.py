"""One measured value over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import INK, RUNS, Look, course_style, new_figure, set_finding, set_legend


def gauge(
    runs: Mapping[str, Sequence[tuple[float, float]]],
    finding: str,
    *,
    y_label: str,
    x_label: str = "time (s)",
    limit: float | None = None,
    stems: bool = False,
) -> Picture:
    """Draw one or more values over time.

    Args:
        runs: Name -> (time in seconds, value) pairs; zero is the earliest time of all.
        finding: What the picture shows, in a sentence without measured numbers.
        y_label: What the value is, with its unit.
        x_label: What the times are, with their unit.
        limit: A value to draw a line at, such as an alert threshold.
        stems: Draw one vertical line a value, for samples that are no course of something.

    Raises:
        ValueError: No run, more than three, or a run without a value.
    """
    if not 1 <= len(runs) <= len(RUNS) or not all(runs.values()):
        raise ValueError(f"A gauge takes one to {len(RUNS)} runs that each have at least one value.")
    begin_s = min(time_s for points in runs.values() for time_s, _ in points)
    with course_style():
        figure, (axes,) = new_figure(4.0)
        for look, (name, points) in zip(RUNS, runs.items(), strict=False):
            times_s = [time_s - begin_s for time_s, _ in points]
            values = [value for _, value in points]
            if stems:
                _draw_stems(axes, times_s, values, look, name)
            else:
                style = look.line_style
                axes.plot(times_s, values, color=look.line, linestyle=style, linewidth=2.5, label=name)
        if limit is not None:
            axes.axhline(limit, color=INK, linestyle=(0, (1, 1.5)), linewidth=1.6)
            axes.annotate(" limit", (0, limit), va="bottom", fontsize=12)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid()
        if len(runs) > 1:
            lines = [line for line in axes.lines if line.get_label() in runs]
            set_legend(figure, lines)
        set_finding(figure, finding)
        return Picture(figure, f"{', '.join(runs)} over time. {finding}")


def _draw_stems(axes: Axes, times_s: Sequence[float], values: Sequence[float], look: Look, name: str) -> None:
    axes.vlines(times_s, 0, values, color=look.line, linewidth=2.0)
    marker = "v" if look is RUNS[0] else "o"
    (marks,) = axes.plot(times_s, values, color=look.line, linestyle="none", marker=marker, label=name)
    marks.set(markersize=6, clip_on=False, zorder=3)  # a value of zero is drawn whole, over the axis
