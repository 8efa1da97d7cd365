"""How long requests took, in two or three runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import INK, RUNS, course_style, new_figure, set_finding

BINS_PER_DECADE = 12


class HasLatencies(Protocol):
    """A load result, or anything else with latencies in seconds."""

    @property
    def latencies_s(self) -> Sequence[float]:
        """Latencies in seconds."""


def histogram(runs: Mapping[str, HasLatencies | Sequence[float]], finding: str) -> Picture:
    """Draw the latencies of two or three runs above each other on one logarithmic axis.

    Args:
        runs: name -> load result, or latencies in seconds; the broken or slower run first, the mended second.
        finding: what the picture shows, in a sentence without measured numbers.

    Raises:
        ValueError: no run, more than three, or a run without a latency.
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
            axes.hist(
                latencies_ms,
                bins=list(bins),
                weights=np.full(len(latencies_ms), 100 / len(latencies_ms)),
                color=look.fill,
                edgecolor=look.edge,
                hatch=look.hatch,
            )
            axes.set_xscale("log")
            axes.set_ylabel("% of requests")
            axes.set_title(name, fontsize=13, fontweight="normal", pad=4)
            _mark_percentiles(axes, latencies_ms)
            axes.grid(axis="x")
        panels[-1].set_xlim(bins[0], bins[-1])
        panels[-1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panels[-1].xaxis.set_minor_formatter(NullFormatter())
        panels[-1].set_xlabel(
            "latency in ms, log scale (p50: half of the requests took less, p99: 99 of 100 did)"
        )
        set_finding(figure, finding)
        return Picture(figure, f"Latency histogram of {len(runs)} runs: {', '.join(runs)}. {finding}")


def _bins(shortest_ms: float, longest_ms: float) -> NDArray[np.float64]:
    """Return bin edges from the decade of the shortest latency to the decade of the longest."""
    first = math.floor(math.log10(max(shortest_ms, 1e-3)))
    last = max(first + 1, math.ceil(math.log10(max(longest_ms, 1e-3))))
    return np.logspace(first, last, (last - first) * BINS_PER_DECADE + 1)


def _mark_percentiles(axes: Axes, latencies_ms: NDArray[np.float64]) -> None:
    top = axes.get_ylim()[1] * 1.3
    axes.set_ylim(0, top)
    # One label stands to the left of its line and one to the right: the lines may be close to each other.
    for percentile, style, side in ((50, "solid", "right"), (99, "dashed", "left")):
        value_ms = float(np.percentile(latencies_ms, percentile, method="inverted_cdf"))
        axes.axvline(value_ms, color=INK, linestyle=style, linewidth=1.6)
        axes.annotate(f" p{percentile} ", (value_ms, top), va="top", ha=side, fontsize=12)
