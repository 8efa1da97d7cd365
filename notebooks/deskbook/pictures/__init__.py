"""The pictures of the course, one function a picture.

Each function takes plain numbers and a `finding`, the one sentence that the picture is there to show. The
finding is its title and part of its text alternative; whoever writes it asserts it in the same cell.

    timeline([Row("GET /quotes/ACME", [Span(0.0, 0.4, "blocked")])], "One report stops every quote.")
    histogram({"with reports": slow.latencies_s, "alone": fast.latencies_s}, "Reports slow every quote.")
    gauge({"loop lag": samples}, "The gauge jumps at each report.", y_label="lag (s)")
    bars({"no type": 40, "a type": 1}, "The type is the quicker one.", x_label="time, the quickest is 1")
    points({"a list": 40, "a session": 0.1}, "A pool helps one of them.", x_label="time with a pool", base=1)
    digits({"sent": "0.30", "stored": "0.31"}, "One digit is wrong.")
    deadlock(Held(40, "threads", "a connection"), Held(15, "connections", "a thread"), "Nobody moves.")
    growth({"2 requests": [(1, 6), (2, 20)]}, "Each await counts.", x_label="awaits", y_label="orders")
    flame({("place", "parse"): 90, ("place", "log"): 10}, "Parsing keeps most.", of="memory in use")
"""

from deskbook.pictures.bars import bars
from deskbook.pictures.deadlock import Held, deadlock
from deskbook.pictures.digits import digits
from deskbook.pictures.flame import flame
from deskbook.pictures.gauge import gauge
from deskbook.pictures.growth import growth
from deskbook.pictures.histogram import histogram
from deskbook.pictures.picture import Picture
from deskbook.pictures.points import points
from deskbook.pictures.prices import price_chart
from deskbook.pictures.timeline import Row, Span, timeline

__all__ = [
    "Held",
    "Picture",
    "Row",
    "Span",
    "bars",
    "deadlock",
    "digits",
    "flame",
    "gauge",
    "growth",
    "histogram",
    "points",
    "price_chart",
    "timeline",
]
