"""Numbers below each other, point under point, with every digit that is wrong or lost in a box."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import INK, VERMILLION, course_style, new_figure, set_finding


def digits(stations: Mapping[str, str], finding: str) -> Picture:
    """Draw what became of one number on its way, digit by digit.

    Args:
        stations: Where -> the number as text; the first one is the truth.
        finding: What the picture shows, in a sentence.

    Raises:
        ValueError: There is no station, or a text that is no plain decimal number.
    """
    if not stations:
        raise ValueError("The picture needs at least one number.")
    for text in stations.values():
        if not text.lstrip("-").replace(".", "", 1).isdigit():
            raise ValueError(f"Expected a plain decimal number such as '19.90', got {text!r}.")
    truth = _by_place(next(iter(stations.values())))
    places = [place for text in stations.values() for place in _by_place(text)]
    with course_style():
        figure, (axes,) = new_figure(0.9 + 0.5 * len(stations))
        axes.axis("off")
        for row, (label, text) in enumerate(stations.items()):
            axes.text(min(places) - 1.5, row, label, ha="right", va="center", fontsize=14)
            shown = _by_place(text)
            for place in sorted(truth.keys() | shown.keys()):
                _draw(axes, place, row, shown.get(place, ""), truth.get(place, ""))
        axes.set_xlim(min(places) - 14, max(places) + 1)
        axes.set_ylim(len(stations) - 0.4, -0.6)
        set_finding(figure, finding)
        listed = ", ".join(f"{label} {text}" for label, text in stations.items())
        return Picture(figure, f"One number digit by digit: {listed}. {finding}")


def _by_place(text: str) -> dict[int, str]:
    """Return character by place: 0 is the point, -1 the digit before it, 1 the one after."""
    point = text.find(".") if "." in text else len(text)
    return {index - point: character for index, character in enumerate(text)}


def _draw(axes: Axes, place: int, row: int, character: str, true_character: str) -> None:
    is_right = character == true_character
    axes.text(
        place,
        row,
        character,
        ha="center",
        va="center",
        fontsize=19,
        family="DejaVu Sans Mono",
        color=INK if is_right else VERMILLION,
        fontweight="normal" if is_right else "bold",
    )
    if not is_right:  # the box stands for the colour, and for a digit that is gone
        box = Rectangle((place - 0.46, row - 0.4), 0.92, 0.8, fill=False, edgecolor=VERMILLION, linewidth=1.6)
        axes.add_patch(box)
