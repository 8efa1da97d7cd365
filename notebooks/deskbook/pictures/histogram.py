"""How long requests took, in two or three runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import INK, RUNS, course_style, new_figure, set_finding

BINS_PER_DECADE = 12
#: Width of a label such as "p99: 1700 ms", as a share of the axis.
LABEL_WIDTH = 0.2


class HasLatencies(Protocol):
    """A load result, or anything else with latencies in seconds."""

    @property
    def latencies_s(self) -> Sequence[float]:
        """Latencies in seconds."""


def histogram(runs: Mapping[str, HasLatencies | Sequence[float]], finding: str) -> Picture:
    """Draw the latencies of one to three runs above each other, on the same axes, with p50 and p99 in ms.

    Args:
        runs: Name -> load result, or latencies in seconds; the broken or slower run first, the mended second.
        finding: What the picture shows, in a sentence without measured numbers.

    Raises:
        ValueError: No run, more than three, or a run without a latency.
    """
    latencies = {name: run if isinstance(run, Sequence) else run.latencies_s for name, run in runs.items()}
    if not 1 <= len(runs) <= len(RUNS) or not all(latencies.values()):
        raise ValueError(f"A histogram takes one to {len(RUNS)} runs that each have at least one latency.")
    every_ms = [1000 * latency_s for latencies_s in latencies.values() for latency_s in latencies_s]
    bins = _bins(min(every_ms), max(every_ms))
    with course_style():
        figure, panels = new_figure(1.5 + 1.5 * len(runs), len(runs))
        for axes, look, (name, latencies_s) in zip(panels, RUNS, latencies.items(), strict=False):
            latencies_ms = np.asarray(latencies_s) * 1000
            counts, edges = np.histogram(latencies_ms, bins)
            # One outline instead of a patch for each bar: a third of the drawing time.
            percent = 100 * counts / len(latencies_ms)
            axes.stairs(
                percent,
                edges,
                fill=True,
                facecolor=look.fill,
                edgecolor=look.edge,
                hatch=look.hatch,
                linewidth=1.0,
            )
            axes.set_xscale("log")
            axes.set_ylabel("% of requests")
            axes.set_title(name, fontsize=13, fontweight="normal", pad=4)
            axes.grid(axis="x")
        right_ms = max(
            bins[-1], *(_room_for_label(latencies_s, bins[0]) for latencies_s in latencies.values())
        )
        panels[-1].set_xlim(bins[0], right_ms)
        top = 1.5 * max(axes.get_ylim()[1] for axes in panels)  # equal, so that heights can be compared
        for axes, latencies_s in zip(panels, latencies.values(), strict=True):
            _mark_percentiles(axes, np.asarray(latencies_s) * 1000, top, (bins[0], right_ms))
        panels[-1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panels[-1].xaxis.set_minor_locator(NullLocator())
        panels[-1].set_xlabel(
            "latency in ms, log scale (p50: half of the requests took less, p99: 99 of 100 did)"
        )
        set_finding(figure, finding)
        counted = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
        return Picture(figure, f"Latency histogram of {counted}: {', '.join(runs)}. {finding}")


def _bins(shortest_ms: float, longest_ms: float) -> NDArray[np.float64]:
    """Return bin edges from the decade of the shortest latency to the decade of the longest."""
    first = math.floor(math.log10(max(shortest_ms, 1e-3)))
    last = max(first + 1, math.ceil(math.log10(max(longest_ms, 1e-3))))
    return np.logspace(first, last, (last - first) * BINS_PER_DECADE + 1)


def _room_for_label(latencies_s: Sequence[float], left_ms: float) -> float:
    """Return where the axis has to end so that the label of p99 fits between its line and the end."""
    p99_ms = 1000 * float(np.percentile(latencies_s, 99, method="inverted_cdf"))
    return float(left_ms * (max(p99_ms, left_ms) / left_ms) ** (1 / (1 - LABEL_WIDTH)))


def _mark_percentiles(
    axes: Axes, latencies_ms: NDArray[np.float64], top: float, ends_ms: tuple[float, float]
) -> None:
    axes.set_ylim(0, top)
    # The label of p50 stands on the left, where there is room, and that of p99 on the right: the lines may be
    # close to each other, and no label may cover the other's line.
    left_ms, right_ms = ends_ms
    width = math.log10(right_ms / left_ms)
    for percentile, style, height, weight in ((50, "solid", 0.98, "bold"), (99, "dashed", 0.8, "normal")):
        value_ms = float(np.percentile(latencies_ms, percentile, method="inverted_cdf"))
        from_left = math.log10(max(value_ms, left_ms) / left_ms) / width
        left = percentile == 50 and from_left > LABEL_WIDTH
        axes.axvline(value_ms, color=INK, linestyle=style, linewidth=1.6)
        axes.annotate(
            f"p{percentile}: {_rounded(value_ms)} ms",
            (value_ms, height * top),
            (-6 if left else 6, 0),
            textcoords="offset points",
            va="top",
            ha="right" if left else "left",
            fontsize=12,
            fontweight=weight,
            bbox={"facecolor": "#FFFFFF", "edgecolor": "none", "pad": 1.0},
        )


def _rounded(value_ms: float) -> str:
    """Return two significant digits, without an exponent."""
    digits = max(0, 1 - math.floor(math.log10(max(value_ms, 1e-3))))
    return f"{float(f'{value_ms:.2g}'):.{digits}f}"
