"""Closing prices over the years."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal

from deskbook.pictures.picture import Picture
from deskbook.pictures.style import RUNS, course_style, new_figure, set_finding, set_legend

#: No instrument is the worse one here: blue first.
_LOOKS = (RUNS[1], RUNS[0], RUNS[2])


def price_chart(
    closes: Mapping[str, Sequence[tuple[dt.date, Decimal]]],
    finding: str,
) -> Picture:
    """Draw daily closing prices.

    Args:
        closes: Symbol -> (day, price) pairs, oldest first.
        finding: What the picture shows, in one sentence.

    Raises:
        ValueError: No instrument, more than three, or one without a price.
    """
    if not 1 <= len(closes) <= len(_LOOKS) or not all(closes.values()):
        raise ValueError(f"A price chart takes one to {len(_LOOKS)} instruments that each have a price.")
    with course_style():
        figure, (axes,) = new_figure(4.0)
        for look, (symbol, days) in zip(_LOOKS, closes.items(), strict=False):
            dates = [day.toordinal() - dt.date(1970, 1, 1).toordinal() for day, _ in days]
            prices = [float(price) for _, price in days]
            axes.plot(dates, prices, color=look.line, linestyle=look.line_style, linewidth=1.6, label=symbol)
        axes.xaxis_date()
        axes.set_ylim(bottom=0)
        axes.set_ylabel("close (US dollars)")
        axes.grid()
        set_legend(figure, axes.lines)
        set_finding(figure, finding)
        spans = [f"{symbol} from {days[0][0]} to {days[-1][0]}" for symbol, days in closes.items()]
        return Picture(figure, f"Daily closes of {', '.join(spans)}. {finding}")
