"""One measured value over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import INK, RUNS, course_style, new_figure, set_finding, set_legend


def gauge(
    runs: Mapping[str, Sequence[tuple[float, float]]],
    finding: str,
    *,
    y_label: str,
    limit: float | None = None,
) -> Picture:
    """Draw one or more values over time.

    Args:
        runs: name -> (time in seconds, value) pairs; zero is the earliest time of all.
        finding: what the picture shows, in a sentence without measured numbers.
        y_label: what the value is, with its unit.
        limit: a value to draw a line at, such as an alert threshold.

    Raises:
        ValueError: no run, more than three, or a run without a value.
    """
    if not 1 <= len(runs) <= len(RUNS) or not all(runs.values()):
        raise ValueError(f"A gauge takes one to {len(RUNS)} runs that each have at least one value.")
    begin_s = min(time_s for points in runs.values() for time_s, _ in points)
    with course_style():
        figure, (axes,) = new_figure(4.0)
        for look, (name, points) in zip(RUNS, runs.items(), strict=False):
            times_s = [time_s - begin_s for time_s, _ in points]
            values = [value for _, value in points]
            axes.plot(times_s, values, color=look.line, linestyle=look.line_style, linewidth=2.5, label=name)
        if limit is not None:
            axes.axhline(limit, color=INK, linestyle=(0, (1, 1.5)), linewidth=1.6)
            axes.annotate(" limit", (0, limit), va="bottom", fontsize=12)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("time (s)")
        axes.set_ylabel(y_label)
        axes.grid()
        if len(runs) > 1:
            set_legend(figure, axes.lines[: len(runs)])
        set_finding(figure, finding)
        return Picture(figure, f"{', '.join(runs)} over time. {finding}")
