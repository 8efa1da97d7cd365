"""A picture and the sentence that says what it shows."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from deskbook.pictures.style import DPI, course_style

#: Pixels of a CSS inch: the picture is shown at its size in inches and holds more pixels than that.
CSS_DPI = 96


def _refuse_bars_on_log_axes(figure: Figure) -> None:
    """Refuse bars whose length means nothing: on a logarithmic axis it depends on where the axis begins."""
    for axes in figure.axes:
        for container in axes.containers:
            if not isinstance(container, BarContainer):
                continue
            length = axes.xaxis if container.orientation == "horizontal" else axes.yaxis
            if length.get_scale() != "linear":
                raise ValueError(
                    "Bars must stand on a linear axis that begins at zero: on a logarithmic one their length "
                    "says nothing. Draw points instead (`deskbook.pictures.points`)."
                )


class Picture:
    """A matplotlib figure as PNG bytes, with a text alternative.

    In a notebook it shows the PNG. Its `text/plain` is the text alternative, which has to be the same in
    every run: no measured number in it. JupyterLab gives its images no alt attribute, so the sentence
    follows once more as text that only screen readers meet there; on GitHub it stands below the picture as
    caption.

    The figure is drawn once and let go. The same data gives the same bytes with the same matplotlib.

    Args:
        figure: A figure made without pyplot.
        alt: What the picture shows, as one or two sentences.

    Raises:
        ValueError: Bars of the figure have their length along a logarithmic axis.
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        _refuse_bars_on_log_axes(figure)
        self.alt = alt
        self.width_px, self.height_px = (round(inches * CSS_DPI) for inches in figure.get_size_inches())
        drawn = io.BytesIO()
        with course_style():
            figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
        self.png = drawn.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the PNG to a file, for slides."""
        Path(path).write_bytes(self.png)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        shown = {"width": self.width_px, "height": self.height_px, "alt": self.alt}
        return (
            {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt},
            {"image/png": shown},
        )

    def _ipython_display_(self) -> None:
        from IPython.display import publish_display_data

        bundle, metadata = self._repr_mimebundle_()
        publish_display_data(bundle, metadata)  # type: ignore[no-untyped-call]
        caption = f'<span class="jp-sr-only">{escape(self.alt)}</span>'
        for_screen_readers = {"text/html": caption, "text/plain": self.alt}
        publish_display_data(for_screen_readers)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return self.alt
