"""One visual language: the same colour and texture for the same meaning in every picture of the course.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with every common kind
of colour vision tell apart. No meaning hangs on colour alone: lightness, hatching and line style differ
too, so that a grey print reads the same. Pictures stand on an opaque white card and so look alike in a
light and a dark JupyterLab.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill, wrap
from typing import Any

# In a fresh environment matplotlib reports on stderr that it builds its font cache. A notebook's stderr is
# compared.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

import matplotlib as mpl  # noqa: E402
from matplotlib.artist import Artist  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: E402

WIDTH_IN = 9.0
#: A third more than the 96 of a browser's inch: sharp on a projector, and drawn in half a second.
DPI = 128
TITLE_CHARACTERS = 72

INK = "#1A1A1A"
FAINT = "#6B6B6B"
GRID = "#D9D9D9"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PALE = "#DCE9F2"
GREEN = "#009E73"


@dataclass(frozen=True)
class Look:
    """How one meaning is drawn."""

    fill: str
    edge: str
    hatch: str = ""
    line: str = ""
    line_style: str = "solid"


#: What a task does, in a timeline.
STATES = {
    "running": Look(BLUE, BLUE),
    "waiting": Look(PALE, BLUE),
    "thread": Look("#FFFFFF", GREEN, "\\\\\\\\"),
    "blocked": Look(VERMILLION, "#FFFFFF", "////"),
}
#: What the legend says about each state.
STATE_MEANINGS = {
    "running": "running (holds the loop)",
    "waiting": "waiting (loop is free)",
    "thread": "in a thread (loop is free)",
    "blocked": "blocked (another holds the loop)",
}
#: Runs in a comparison, in this order: the broken or slower one first, the mended or faster one second.
RUNS = (
    Look(VERMILLION, "#FFFFFF", "////", VERMILLION, "dashed"),
    Look(BLUE, BLUE, "", BLUE, "solid"),
    Look("#FFFFFF", INK, "....", INK, "dotted"),
)

_RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.labelsize": 13,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.linewidth": 1.2,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "legend.columnspacing": 1.3,
    "figure.facecolor": "#FFFFFF",
    "axes.facecolor": "#FFFFFF",
    "savefig.facecolor": "#FFFFFF",
    "path.simplify": True,
}


@contextmanager
def course_style() -> Iterator[None]:
    """Draw in the course's style; the reader's own matplotlib settings neither matter nor change."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_figure(height_in: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, one below the other on a shared x axis.

    The figure is made without pyplot: nothing global holds on to it, so there is nothing to close.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout=layout)
    return figure, list(figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0])


def set_finding(figure: Figure, finding: str) -> None:
    """Write the finding over the picture, in lines of about the same length."""
    lines = len(wrap(finding, TITLE_CHARACTERS))
    width = next(width for width in range(1, TITLE_CHARACTERS + 1) if len(wrap(finding, width)) <= lines)
    figure.suptitle(fill(finding, width), x=0.015, ha="left", fontsize=15, fontweight="bold")


def set_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Say below the picture what its looks mean; beside or inside it, it would cover something."""
    columns = len(handles) if len(handles) <= 3 else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=1.8)
