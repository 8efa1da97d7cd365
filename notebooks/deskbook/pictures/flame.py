"""Who calls whom, and how much each has made: the width of a box is its share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import RUNS, course_style, new_figure, set_finding

#: Narrower boxes are left out, and of the others the name is written where it fits.
NARROWEST = 0.004
CHARACTERS_IN_THE_WIDTH = 88


def flame(stacks: Mapping[tuple[str, ...], float], finding: str, *, of: str) -> Picture:
    """Draw a flame graph: callers below, who they call above them, wider for more.

    Args:
        stacks: Names from the outermost caller to the innermost -> how much was made there.
        finding: What the picture shows, in a sentence without measured numbers.
        of: What the full width is, such as "memory still in use".

    Raises:
        ValueError: There is no stack, or one with nothing in it.

    Source: Brendan Gregg, "The Flame Graph" (CACM 59(6), 2016).
    """
    if not stacks or min(stacks.values()) <= 0 or not all(stacks):
        raise ValueError("A flame graph needs at least one stack with a name, and each must be above 0.")
    boxes = list(_boxes(stacks, 0.0, 0, sum(stacks.values())))
    depth = 1 + max(box.level for box in boxes)
    with course_style():
        figure, (axes,) = new_figure(1.6 + 0.42 * depth)
        for box in boxes:
            _draw(axes, box)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.05, depth)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.set_xlabel(f"share of {of}")
        set_finding(figure, finding)
        widest = max(stacks, key=lambda stack: stacks[stack])
        return Picture(figure, f"Flame graph of {of}; the widest tower: {' > '.join(widest)}. {finding}")


@dataclass(frozen=True)
class _Box:
    """One function at one place: where it begins and how wide it is, as shares of the whole."""

    name: str
    left: float
    width: float
    level: int


def _boxes(stacks: Mapping[tuple[str, ...], float], left: float, level: int, total: float) -> Iterator[_Box]:
    """Yield the boxes of one level, the widest first, and what stands on each; not the narrowest."""
    calls: dict[str, dict[tuple[str, ...], float]] = {}
    for (name, *rest), size in stacks.items():
        towers = calls.setdefault(name, {})
        towers[tuple(rest)] = towers.get(tuple(rest), 0) + size
    for name, towers in sorted(calls.items(), key=lambda call: (-sum(call[1].values()), call[0])):
        width = sum(towers.values()) / total
        if width >= NARROWEST:
            yield _Box(name, left, width, level)
            yield from _boxes(
                {stack: size for stack, size in towers.items() if stack}, left, level + 1, total
            )
        left += width


def _draw(axes: Axes, box: _Box) -> None:
    look = RUNS[0] if box.width >= 0.5 else RUNS[1]
    place = (box.left, box.level)
    axes.add_patch(Rectangle(place, box.width, 0.94, facecolor=look.line, edgecolor="#FFFFFF"))
    if len(box.name) <= box.width * CHARACTERS_IN_THE_WIDTH:
        axes.text(box.left + 0.006, box.level + 0.46, box.name, va="center", color="#FFFFFF", fontsize=12)
