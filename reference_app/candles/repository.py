"""SQL of candles. It never commits: the service owns the transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.candles.models import Candle, CandleFormat, CandleRecord
from reference_app.candles.upload import CandleUpload, copy_of_records, create_import, take_over
from reference_app.infra.database.engine import driver_of
from reference_app.patterns.bulk_copy import BadRow, TooManyBadRows
from reference_app.patterns.keyset_page import Keyset

#: Instrument and day: where an export is.
Key = tuple[int, dt.date]

CANDLES = Keyset("candles", Candle.date)


class CandleRepository:
    """Candles in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

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
            instrument_id: The instrument.
            unit: "week" (from Monday) or "month".
            start: First day, included.
            end: The day after the last.
        """
        values = {"id": instrument_id, "unit": unit, "start": start, "end": end}
        return (await self._session.execute(text(AGGREGATE), values)).all()

    async def save_candles(self, records: AsyncGenerator[CandleRecord | ValueError]) -> int:
        """Insert or correct candles, all or nothing, and return how many were new or differed.

        Raises:
            ValueError: One is no candle.
        """
        driver = await driver_of(self._session)
        await create_import(driver)
        copy = copy_of_records(driver, max_bad_rows=0)
        try:
            await copy.run(records)
        except TooManyBadRows:
            bad = copy.bad_rows[0]
            raise ValueError(f"row {bad.number} is no candle: {bad.reason}") from None
        changed, _ = await take_over(driver)
        return changed

    async def import_candles(
        self,
        blocks: AsyncGenerator[bytes],
        format: CandleFormat,
        symbols: Collection[str],
        max_bad_rows: int,
    ) -> tuple[int, list[BadRow], list[str]]:
        """Insert or correct the candles of an upload.

        Args:
            blocks: Whole lines, from `split_blocks`.
            format: How the lines are written.
            symbols: The symbols of all instruments; a row with another one is bad.
            max_bad_rows: How many rows may be left out.

        Returns:
            How many candles were new or corrected, what was left out, and the symbols that were touched.

        Raises:
            ImportRejected: Too many rows are bad; nothing was saved.
            ValueError: This is no list of candles.
        """
        driver = await driver_of(self._session)
        await create_import(driver)
        upload = CandleUpload(driver, format, symbols, max_bad_rows)
        await upload.copy(blocks)
        changed, touched = await take_over(driver)
        return changed, upload.bad_rows, touched

    async def export_portion(
        self, format: CandleFormat, keys: tuple[Key, Key], dates: tuple[dt.date, dt.date], size: int
    ) -> tuple[bytes, Key | None]:
        """Return up to `size` candles as PostgreSQL writes them, and the last key, or None at the end.

        Args:
            format: How the lines are written.
            keys: After which candle to begin, and which one is the last.
            dates: First and last day.
            size: How many candles at most.
        """
        driver = await driver_of(self._session)
        (after_id, after_date), (last_id, last_date) = keys
        values = [after_id, after_date, last_id, last_date, *dates]
        end = await driver.fetchrow(EXPORT_END, *values, size - 1)
        if end is not None:
            values[2:4] = end
        portion = bytearray()

        async def collect(data: bytes) -> None:
            portion.extend(data)

        columns, options = EXPORTS[format]
        await driver.copy_from_query(columns + EXPORT_FROM, *values, output=collect, format="csv", **options)
        return bytes(portion), None if end is None else (end["instrument_id"], end["date"])


# Without ::timestamp, date_trunc would go through the time zone of the session.
AGGREGATE = """
SELECT date_trunc(:unit, date::timestamp)::date AS start,
    (array_agg(open ORDER BY date))[1] AS open, max(high) AS high, min(low) AS low,
    (array_agg(close ORDER BY date DESC))[1] AS close, sum(volume) AS volume, count(*) AS days
FROM candles WHERE instrument_id = :id AND date >= :start AND date < :end
GROUP BY 1 ORDER BY 1
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
#: CSV with quotes and commas that no value contains: so a JSON line goes through as it is.
AS_IT_IS = {"quote": "\x01", "delimiter": "\x02"}
#: What is selected in each format, and how COPY writes it.
EXPORTS: dict[CandleFormat, tuple[str, dict[str, str]]] = {
    CandleFormat.CSV: (EXPORT_CSV, {}),
    CandleFormat.JSON: (EXPORT_JSON, AS_IT_IS),
}
EXPORT_WHERE = """
WHERE (c.instrument_id, c.date) > ($1, $2) AND (c.instrument_id, c.date) <= ($3, $4)
    AND c.date BETWEEN $5 AND $6
ORDER BY c.instrument_id, c.date
"""
EXPORT_END = "SELECT c.instrument_id, c.date FROM candles c" + EXPORT_WHERE + "OFFSET $7 LIMIT 1"  # noqa: S608 - constants
#: OFFSET 0 keeps the join out of the reading of a portion. Without it, PostgreSQL may read the range once for
#: each instrument, where its statistics do not know the newest instruments: a third of the rows a second.
EXPORT_FROM = f"""
FROM (SELECT * FROM candles c {EXPORT_WHERE} OFFSET 0) c JOIN instruments i ON i.id = c.instrument_id
ORDER BY c.instrument_id, c.date
"""  # noqa: S608
