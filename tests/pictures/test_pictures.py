"""Pictures are the same bytes for the same data, say in words what they show, and touch nothing global."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from deskbook.pictures import (
    Held,
    Picture,
    Row,
    Span,
    bars,
    deadlock,
    digits,
    flame,
    gauge,
    growth,
    histogram,
    points,
    timeline,
)
from deskbook.pictures.bars import short_number
from deskbook.pictures.style import RUNS, STATES, TITLE_CHARACTERS, course_style, new_figure
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

ROWS = [
    Row("GET /reports/daily", [Span(10.0, 10.4, "running"), Span(10.4, 10.5, "waiting")]),
    Row("GET /quotes/ACME", [Span(10.1, 10.4, "blocked"), Span(10.4, 10.401, "running")]),
    Row("GET /quotes/ACME", [Span(10.2, 10.401, "blocked"), Span(10.401, 10.402, "running")]),
]
SLOW = [0.001 * (1 + number % 7) for number in range(90)] + [0.3] * 10
FAST = [0.001 * (1 + number % 7) for number in range(100)]
ORDERS = {"3 requests": [(1, 90), (2, 1_680)], "2 requests": [(1, 6), (2, 20)]}
THREADS, CONNECTIONS = Held(40, "threads", "a connection"), Held(15, "connections", "a thread")
LAG = [(5.0 + number / 10, 0.3 if number == 5 else 0.001) for number in range(12)]

DRAWINGS: dict[str, Callable[[], Picture]] = {
    "timeline": lambda: timeline(ROWS, "A report stops every quote."),
    "histogram": lambda: histogram({"with reports": SLOW, "alone": FAST}, "Reports slow every quote."),
    "gauge": lambda: gauge({"lag": LAG}, "The gauge jumps.", y_label="lag (s)", limit=0.1),
    "bars": lambda: bars({"no type": 40.0, "a type": 1.0}, "A type is quicker.", x_label="time"),
    "points": lambda: points({"lists": 40.0, "sessions": 0.1}, "One pays.", x_label="time", base=1),
    "stems": lambda: gauge({"Friday": LAG, "Monday": LAG[:3]}, "It jumps.", y_label="lag (s)", stems=True),
    "deadlock": lambda: deadlock(THREADS, CONNECTIONS, "Nobody moves."),
    "digits": lambda: digits({"sent": "12.3456", "stored": "12.346"}, "Digits are lost."),
    "growth": lambda: growth(ORDERS, "Each await counts.", x_label="awaits", y_label="orders"),
    "flame": lambda: flame({("place", "parse"): 9, ("place", "log"): 1}, "Parsing keeps most.", of="memory"),
}
drawings = pytest.mark.parametrize("name", DRAWINGS)


@cache
def drawn(name: str) -> Picture:
    return DRAWINGS[name]()


def pixels(picture: Picture) -> Any:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)


@drawings
def test_the_same_data_gives_the_same_bytes_whatever_the_reader_has_set(name: str) -> None:
    ordinary = drawn(name).png
    with mpl.rc_context({"font.size": 40, "savefig.dpi": 30, "xtick.direction": "in"}):
        assert DRAWINGS[name]().png == ordinary


def test_pictures_leave_no_trace_in_pyplot_or_the_settings() -> None:
    before = dict(mpl.rcParams)
    DRAWINGS["timeline"]()
    assert dict(mpl.rcParams) == before
    code = "import deskbook.pictures, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@drawings
def test_a_picture_is_an_opaque_white_card(name: str) -> None:
    image = Image.open(io.BytesIO(drawn(name).png))
    assert image.convert("RGBA").getextrema()[3] == (255, 255)
    corners = [(0, 0), (image.width - 1, 0), (0, image.height - 1), (image.width - 1, image.height - 1)]
    assert {image.convert("RGB").getpixel(corner) for corner in corners} == {(255, 255, 255)}


@drawings
def test_nothing_touches_the_edge_of_the_card(name: str) -> None:
    """A legend or label that is cut off has ink on the outermost pixels."""
    shown = pixels(drawn(name))
    for edge in (shown[:6], shown[-6:], shown[:, :6], shown[:, -6:]):
        assert edge.min() == 255


def test_the_text_says_what_the_picture_shows_and_names_no_measured_number() -> None:
    assert {name: drawn(name).alt for name in DRAWINGS} == {
        "timeline": "Timeline of 1 GET /reports/daily, 2 GET /quotes/ACME. A report stops every quote.",
        "histogram": "Latency histogram of 2 runs: with reports, alone. Reports slow every quote.",
        "gauge": "lag over time. The gauge jumps.",
        "bars": "Time: no type, a type. A type is quicker.",
        "points": "Time: lists, sessions. One pays.",
        "stems": "Friday, Monday over time. It jumps.",
        "deadlock": (
            "40 threads: each held by a request that waits for a connection; "
            "15 connections: each held by a request that waits for a thread. Nobody moves."
        ),
        "digits": "One number digit by digit: sent 12.3456, stored 12.346. Digits are lost.",
        "growth": "Orders by awaits: 3 requests, 2 requests. Each await counts.",
        "flame": "Flame graph of memory; the widest tower: place > parse. Parsing keeps most.",
    }


def test_a_notebook_gets_the_png_and_the_sentence_twice() -> None:
    InteractiveShell.instance()
    picture = drawn("timeline")
    with capture_output() as captured:
        picture._ipython_display_()
    shown, caption = captured.outputs
    assert set(shown.data) == {"image/png", "text/plain"}
    assert shown.data["text/plain"] == picture.alt
    assert shown.metadata["image/png"]["alt"] == picture.alt
    assert caption.data["text/plain"] == picture.alt
    assert "jp-sr-only" in caption.data["text/html"]


def test_saving_writes_the_same_bytes(tmp_path: Any) -> None:
    picture = drawn("gauge")
    picture.save(tmp_path / "gauge.png")
    assert (tmp_path / "gauge.png").read_bytes() == picture.png


def lightness(colour: str) -> float:
    """CIE L* of a colour, 0 to 100: what is left of it in a grey print."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize("looks", [list(STATES.values()), list(RUNS)], ids=["states", "runs"])
def test_no_two_looks_differ_by_colour_alone(looks: list[Any]) -> None:
    for place, one in enumerate(looks):
        for other in looks[place + 1 :]:
            in_grey = abs(lightness(one.fill) - lightness(other.fill)) > 25
            assert in_grey or one.hatch != other.hatch
    assert len({look.line_style for look in RUNS}) == len(RUNS)


def test_a_long_finding_is_broken_into_lines_of_about_the_same_length() -> None:
    finding = "The gauge jumps at each report and stays flat once the report runs in a thread of its own."
    assert len(finding) > TITLE_CHARACTERS
    taller = gauge({"lag": LAG}, finding, y_label="lag (s)")
    assert taller.alt.endswith(finding)
    for edge in (pixels(taller)[:6], pixels(taller)[:, -6:]):
        assert edge.min() == 255


@pytest.mark.parametrize(
    "draw",
    [
        lambda: timeline([], "Nothing."),
        lambda: timeline([Row("GET /", [])], "Nothing."),
        lambda: histogram({}, "Nothing."),
        lambda: histogram({"empty": []}, "Nothing."),
        lambda: histogram({name: [1.0] for name in "abcd"}, "Too many."),
        lambda: deadlock(THREADS, Held(0, "connections", "a thread"), "Nobody waits."),
        lambda: gauge({"empty": []}, "Nothing.", y_label="s"),
        lambda: growth({"empty": []}, "Nothing.", x_label="x", y_label="y"),
        lambda: bars({}, "Nothing.", x_label="x"),
        lambda: points({}, "Nothing.", x_label="x"),
        lambda: digits({}, "Nothing."),
        lambda: flame({}, "Nothing.", of="memory"),
    ],
)
def test_nothing_to_draw_is_an_error(draw: Callable[[], Picture]) -> None:
    with pytest.raises(ValueError, match=r"at least one|takes one to"):
        draw()


@pytest.mark.parametrize(("half_s", "slowest_s"), [(0.31, 0.61), (0.005, 0.97), (0.0011, 1.7), (0.5, 0.5)])
def test_the_label_of_p99_covers_no_line_and_stays_on_the_card(
    half_s: float, slowest_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    module = importlib.import_module("deskbook.pictures.histogram")
    monkeypatch.setattr(module, "Picture", lambda figure, _: figures.append(figure))
    with course_style():
        module.histogram({"quotes": [half_s] * 60 + [slowest_s] * 40}, "A finding.")
        (axes,) = figures[0].axes
        renderer = FigureCanvasAgg(figures[0]).get_renderer()
        figures[0].draw(renderer)
        [label] = [text for text in axes.texts if text.get_text().startswith("p99")]
        box = label.get_window_extent(renderer)
        lines = [axes.transData.transform((line.get_xdata()[0], 0))[0] for line in axes.lines]
    assert len(lines) == 2
    assert all(x <= box.x0 for x in lines)
    assert box.x1 <= axes.get_window_extent(renderer).x1


def test_a_single_latency_still_has_a_histogram() -> None:
    assert histogram({"one": [0.001]}, "One request.").png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: growth({"none": [(1, 0)]}, "No logarithm.", x_label="x", y_label="y"),
        lambda: bars({"less": -1.0, "one": 1.0}, "No length.", x_label="x"),
        lambda: points({"none": 0.0}, "No logarithm.", x_label="x"),
        lambda: digits({"sent": "1e5"}, "No plain number."),
        lambda: flame({("place",): 0}, "No share.", of="memory"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(draw: Callable[[], Picture]) -> None:
    with pytest.raises(ValueError, match=r"must be|Expected a plain"):
        draw()


def test_wrong_and_missing_digits_are_marked_and_right_ones_are_not() -> None:
    def marks(**stations: str) -> int:
        red, green, blue = np.moveaxis(pixels(digits(stations, "Look.")), 2, 0)
        return int(((red > 180) & (green < 140) & (blue < 90)).sum())

    assert marks(sent="12.34", stored="12.34") == 0
    one, two = marks(sent="12.34", stored="12.35"), marks(sent="12.34", stored="12.3")
    assert one > 0
    assert two > 0


def test_a_timeline_says_what_its_states_stand_for() -> None:
    plain = timeline(ROWS, "A report stops every quote.")
    named = timeline(ROWS, "A report stops every quote.", meanings={"blocked": "waits for the exchange"})
    assert named.png != plain.png
    assert named.alt == plain.alt


def test_a_flame_graph_is_as_high_as_what_is_drawn() -> None:
    """A box too narrow to be drawn leaves no empty rows above the others."""
    flat = {("place", "parse"): 9_000.0, ("place", "log"): 1_000.0}
    deep = flat | {("place", "parse", "read", "decode", "intern"): 1.0}
    heights = [flame(stacks, "Parsing keeps most.", of="memory").height_px for stacks in (flat, deep)]
    assert heights[0] == heights[1]


def test_bars_begin_at_zero_and_twice_the_value_has_twice_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    module = importlib.import_module("deskbook.pictures.bars")
    monkeypatch.setattr(module, "Picture", lambda figure, _: figures.append(figure))
    module.bars({"one": 4.0, "two": 8.0, "none": 0.0}, "Twice.", x_label="time")
    (axes,) = figures[0].axes
    assert axes.get_xscale() == "linear"
    assert axes.get_xlim()[0] == 0
    assert [bar.get_width() for bar in axes.patches] == [4.0, 8.0, 0.0]
    assert {bar.get_x() for bar in axes.patches} == {0.0}


@pytest.mark.parametrize(("draw", "axis"), [("barh", "x"), ("bar", "y"), ("hist", "y")])
def test_bars_on_a_logarithmic_axis_are_no_picture(draw: str, axis: str) -> None:
    def picture(log_axis: str) -> Picture:
        figure, (axes,) = new_figure(2.0)
        getattr(axes, draw)(*([[1.0, 2.0, 2.0]] if draw == "hist" else [[1, 2], [4, 8]]))
        getattr(axes, f"set_{log_axis}scale")("log")
        return Picture(figure, "Two bars.")

    assert picture("y" if axis == "x" else "x").alt == "Two bars."
    with pytest.raises(ValueError, match="linear axis that begins at zero"):
        picture(axis)


def test_points_say_that_their_axis_is_logarithmic(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    module = importlib.import_module("deskbook.pictures.points")
    monkeypatch.setattr(module, "Picture", lambda figure, _: figures.append(figure))
    module.points({"lists": 40.0, "sessions": 0.1}, "One pays.", x_label="time with a pool")
    (axes,) = figures[0].axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "time with a pool (log scale)"


def test_bars_of_ratios_have_a_line_at_one() -> None:
    ratios = {"lists": 40.0, "sessions": 0.1}
    plain = bars(ratios, "A pool pays for what is slow.", x_label="time")
    around = bars(ratios, "A pool pays for what is slow.", x_label="time", base=1)
    assert plain.png != around.png
    assert plain.alt == around.alt


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0523, "0.052"), (1.0, "1"), (9.96, "10"), (362.0, "360"), (12_345.0, "12,000")]
)
def test_a_bar_says_two_digits_and_no_exponent(value: float, shown: str) -> None:
    assert short_number(value) == shown


def test_what_is_there_once_is_not_counted() -> None:
    rows = [Row(name, ROWS[0].spans) for name in ("loads", "visitors")]
    assert timeline(rows, "Nobody waits.").alt == "Timeline of loads, visitors. Nobody waits."
    alone = histogram({"alone": FAST}, "It is quick.")
    assert alone.alt == "Latency histogram of 1 run: alone. It is quick."


def test_growth_can_be_drawn_on_a_linear_scale() -> None:
    labels = {"x_label": "awaits", "y_label": "orders"}
    linear = growth(ORDERS, "Each await counts.", scale="linear", **labels)
    assert linear.png != drawn("growth").png
    assert linear.alt == drawn("growth").alt
