"""The table of candles: one a day for each instrument."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from reference_app.infra.database.base import Base

#: symbol, date, open, high, low, close, volume, adjusted close: one row of an import.
CandleRecord = tuple[str, dt.date, Decimal, Decimal, Decimal, Decimal, int, Decimal]


class CandleFormat(enum.Enum):
    """How candles are written where there are many: one line for each."""

    CSV = "csv"
    JSON = "json"


class Candle(Base):
    """Open, high, low, close and volume of one instrument on one trading day.

    NUMERIC without a scale plus a CHECK: NUMERIC(18, 4) would round a fifth digit away without a word. NaN is
    above every number in PostgreSQL, so the upper limit rejects it.
    """

    __tablename__ = "candles"
    __table_args__ = (
        CheckConstraint(
            "low > 0 AND low <= least(open, close) AND high >= greatest(open, close) AND high < 1e14",
            name="range",
        ),
        CheckConstraint(
            "scale(open) <= 4 AND scale(high) <= 4 AND scale(low) <= 4 AND scale(close) <= 4", name="scale"
        ),
        CheckConstraint("adjusted_close > 0 AND adjusted_close < 1e14", name="adjusted_close"),
        CheckConstraint("volume >= 0", name="volume"),
    )

    #: The instrument exists: a trigger for each statement holds that (migration 0011). A foreign key is
    #: checked for each row, and took more than half the time of an import.
    instrument_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    date: Mapped[dt.date] = mapped_column(primary_key=True)
    open: Mapped[Decimal] = mapped_column(Numeric)
    high: Mapped[Decimal] = mapped_column(Numeric)
    low: Mapped[Decimal] = mapped_column(Numeric)
    close: Mapped[Decimal] = mapped_column(Numeric)
    volume: Mapped[int] = mapped_column(BigInteger)
    #: The source's close after splits and dividends, with up to 15 digits: for charts, never for booking.
    adjusted_close: Mapped[Decimal] = mapped_column(Numeric)
