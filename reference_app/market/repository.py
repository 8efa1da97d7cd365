"""SQL of the market. It never commits: the service owns the transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.market.candle_lines import COLUMNS
from reference_app.market.models import Candle, CandleRecord, Instrument
from reference_app.market.problems import ImportRejected
from reference_app.patterns.bulk_copy import BadRow, BulkCopy, TooManyBadRows, driver_connection
from reference_app.patterns.keyset_page import Keyset

SAVE_TIMEOUT_S = 300.0

#: Instrument and day: where an export is.
Key = tuple[int, dt.date]


INSTRUMENTS = Keyset("instruments", Instrument.symbol)
CANDLES = Keyset("candles", Candle.date)


class MarketRepository:
    """Instruments and candles in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def instruments(self, after: tuple[Any, ...] | None, size: int) -> Sequence[Instrument]:
        """Return instruments in the order of `INSTRUMENTS`."""
        query = INSTRUMENTS.select(select(Instrument), after=after, size=size)
        return (await self._session.scalars(query)).all()

    async def instruments_of(self, instrument_ids: Collection[int]) -> Sequence[Instrument]:
        """Return the instruments with these ids."""
        query = select(Instrument).where(Instrument.id.in_(instrument_ids))
        return (await self._session.scalars(query)).all()

    async def instrument(self, symbol: str) -> Instrument | None:
        """Return the instrument with this symbol."""
        return await self._session.scalar(select(Instrument).where(Instrument.symbol == symbol))

    async def symbols(self) -> frozenset[str]:
        """Return the symbols of all instruments."""
        return frozenset((await self._session.scalars(select(Instrument.symbol))).all())

    async def candles(
        self,
        instrument_id: int,
        start: dt.date | None,
        end: dt.date | None,
        after: tuple[Any, ...] | None,
        size: int,
    ) -> Sequence[Candle]:
        """Return candles in the order of `CANDLES`, within the range (both ends included)."""
        query = select(Candle).where(Candle.instrument_id == instrument_id)
        if start is not None:
            query = query.where(Candle.date >= start)
        if end is not None:
            query = query.where(Candle.date <= end)
        return (await self._session.scalars(CANDLES.select(query, after=after, size=size))).all()

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

    async def save_candles(
        self, records: AsyncGenerator[CandleRecord | ValueError], *, max_bad_rows: int = 0
    ) -> tuple[int, list[BadRow], list[str]]:
        """Insert or correct candles through COPY.

        COPY cannot say "on conflict", so it fills a temporary table, and one INSERT takes over what differs.

        Args:
            records: Candles, and a ValueError for what is none; of two of the same day the first one counts.
            max_bad_rows: How many may be left out.

        Returns:
            How many candles were new or corrected, what was left out, and the symbols that were touched.

        Raises:
            ImportRejected: Too many rows are bad; nothing was saved.
        """
        driver = await driver_connection(self._session)
        # For this transaction: the taking over of a million rows is one statement.
        await driver.execute(f"SET LOCAL statement_timeout = '{SAVE_TIMEOUT_S:.0f}s'")
        await driver.execute(CREATE_IMPORT)
        copy = BulkCopy(driver, "candle_import", COLUMNS, batch_size=2000, max_bad_rows=max_bad_rows)
        try:
            await copy.run(records)
        except TooManyBadRows as error:
            report = [{"row": bad.number, "reason": bad.reason} for bad in copy.bad_rows]
            raise ImportRejected(f"{str(error).capitalize()}.", bad_rows=report) from None
        symbols = await driver.fetch("SELECT DISTINCT symbol FROM candle_import")
        changed = await driver.fetchval(TAKE_OVER, timeout=SAVE_TIMEOUT_S)
        return changed, copy.bad_rows, [row["symbol"] for row in symbols]

    async def export_portion(
        self, template: str, keys: tuple[Key, Key], dates: tuple[dt.date, dt.date], size: int
    ) -> tuple[bytes, Key | None]:
        """Return up to `size` candles as PostgreSQL writes them, and the last key, or None at the end.

        Args:
            template: `EXPORT_CSV` or `EXPORT_JSON`.
            keys: After which, and up to which.
            dates: First and last day.
            size: How many.
        """
        driver = await driver_connection(self._session)
        (after_id, after_date), (last_id, last_date) = keys
        values = [after_id, after_date, last_id, last_date, *dates]
        end = await driver.fetchrow(EXPORT_END, *values, size - 1)
        if end is not None:
            values[2:4] = end
        portion = bytearray()

        async def collect(data: bytes) -> None:
            portion.extend(data)

        # CSV with quotes and commas that no value contains: a JSON line goes through as it is.
        options = {"format": "csv"} if template is EXPORT_CSV else {"format": "csv", **AS_IT_IS}
        await driver.copy_from_query(template + EXPORT_FROM, *values, output=collect, **options)
        return bytes(portion), None if end is None else (end["instrument_id"], end["date"])


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
    volume bigint, adjusted_close numeric,
    PRIMARY KEY (symbol, date)
) ON COMMIT DROP
"""

TAKE_OVER = """
WITH changed AS (
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
)
SELECT count(*) FROM changed
"""

EXPORT_CSV = """
SELECT i.symbol, c.date, round(c.open, 4), round(c.high, 4), round(c.low, 4), round(c.close, 4), c.volume,
    c.adjusted_close
"""
#: Put together as text, in half the time of json_build_object; no value needs escaping (CHECK constraints).
EXPORT_JSON = """
SELECT '{"symbol":"' || i.symbol || '","date":"' || c.date || '","open":"' || round(c.open, 4)
    || '","high":"' || round(c.high, 4) || '","low":"' || round(c.low, 4)
    || '","close":"' || round(c.close, 4)
    || '","volume":' || c.volume || ',"adjusted_close":"' || c.adjusted_close || '"}'
"""
AS_IT_IS = {"quote": "\x01", "delimiter": "\x02"}
EXPORT_WHERE = """
WHERE (c.instrument_id, c.date) > ($1, $2) AND (c.instrument_id, c.date) <= ($3, $4)
    AND c.date BETWEEN $5 AND $6
ORDER BY c.instrument_id, c.date
"""
EXPORT_END = "SELECT c.instrument_id, c.date FROM candles c" + EXPORT_WHERE + "OFFSET $7 LIMIT 1"  # noqa: S608 - constants
EXPORT_FROM = "FROM candles c JOIN instruments i ON i.id = c.instrument_id" + EXPORT_WHERE
