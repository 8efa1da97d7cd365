"""SQL of the market. It never commits: the service owns the transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.market.models import Candle, CandleRecord, Instrument

COPY_TIMEOUT_S = 60.0


class MarketRepository:
    """Instruments and candles in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def instruments(self, after: str | None, limit: int) -> Sequence[Instrument]:
        """Return instruments by symbol, those after the key."""
        query = select(Instrument).order_by(Instrument.symbol).limit(limit)
        if after is not None:
            query = query.where(Instrument.symbol > after)
        return (await self._session.scalars(query)).all()

    async def instrument(self, symbol: str) -> Instrument | None:
        """Return the instrument with this symbol."""
        return await self._session.scalar(select(Instrument).where(Instrument.symbol == symbol))

    async def candles(
        self,
        instrument_id: int,
        start: dt.date | None,
        end: dt.date | None,
        after: dt.date | None,
        limit: int,
    ) -> Sequence[Candle]:
        """Return candles by date, within the range (both ends included) and after the key."""
        query = select(Candle).where(Candle.instrument_id == instrument_id).order_by(Candle.date).limit(limit)
        if start is not None:
            query = query.where(Candle.date >= start)
        if end is not None:
            query = query.where(Candle.date <= end)
        if after is not None:
            query = query.where(Candle.date > after)
        return (await self._session.scalars(query)).all()

    async def last_candle(self, instrument_id: int) -> Candle | None:
        """Return the newest candle."""
        query = (
            select(Candle).where(Candle.instrument_id == instrument_id).order_by(Candle.date.desc()).limit(1)
        )
        return await self._session.scalar(query)

    async def aggregates(
        self, instrument_id: int, unit: str, start: dt.date, end: dt.date
    ) -> Sequence[Row[Any]]:
        """Return candles of a longer interval by their first day, from `start` to before `end`.

        Args:
            instrument_id: Of the instrument.
            unit: "week" (from Monday) or "month".
            start: First day, included.
            end: The day after the last.
        """
        values = {"id": instrument_id, "unit": unit, "start": start, "end": end}
        return (await self._session.execute(text(AGGREGATE), values)).all()

    async def save_instruments(self, names: dict[str, str]) -> None:
        """Insert instruments, or give those that exist their new name."""
        statement = insert(Instrument).values([{"symbol": key, "name": name} for key, name in names.items()])
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=["symbol"], set_={"name": statement.excluded.name})
        )

    async def save_candles(self, records: Iterable[CandleRecord]) -> int:
        """Insert or correct candles through COPY, and return how many rows changed.

        COPY cannot say "on conflict", so it fills a temporary table, and one INSERT takes over what differs.
        """
        await self._session.execute(text(CREATE_IMPORT))
        connection = await self._session.connection()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.copy_records_to_table("candle_import", records=records, timeout=COPY_TIMEOUT_S)
        changed = await self._session.execute(text(TAKE_OVER))
        return len(changed.all())


# Without ::timestamp, date_trunc would go through the time zone of the session.
AGGREGATE = """
SELECT date_trunc(:unit, date::timestamp)::date AS start,
    (array_agg(open ORDER BY date))[1] AS open, max(high) AS high, min(low) AS low,
    (array_agg(close ORDER BY date DESC))[1] AS close, sum(volume) AS volume, count(*) AS days
FROM candles WHERE instrument_id = :id AND date >= :start AND date < :end
GROUP BY 1 ORDER BY 1
"""

CREATE_IMPORT = """
CREATE TEMPORARY TABLE candle_import (
    symbol text, date date, open numeric, high numeric, low numeric, close numeric,
    volume bigint, adjusted_close numeric
) ON COMMIT DROP
"""

TAKE_OVER = """
INSERT INTO candles (instrument_id, date, open, high, low, close, volume, adjusted_close)
SELECT i.id, r.date, r.open, r.high, r.low, r.close, r.volume, r.adjusted_close
FROM candle_import r JOIN instruments i USING (symbol)
ON CONFLICT (instrument_id, date) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    volume = excluded.volume, adjusted_close = excluded.adjusted_close
WHERE (candles.open, candles.high, candles.low, candles.close, candles.volume, candles.adjusted_close)
    IS DISTINCT FROM
    (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.adjusted_close)
RETURNING 1
"""
