"""The service of daily candles. Each read or write is one unit of work; only an export is several."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial

from reference_app.candles.aggregates import AggregateOut, Aggregates, AggregatesOut, Interval
from reference_app.candles.models import Candle, CandleFormat, CandleRecord
from reference_app.candles.problems import NoQuote
from reference_app.candles.read_ahead import read_ahead
from reference_app.candles.repository import CANDLES, CandleRepository, Key
from reference_app.infra.database.engine import Sessions
from reference_app.infra.process.resources import Resources
from reference_app.market.service import MarketService
from reference_app.patterns.bulk_copy import BadRow
from reference_app.patterns.keyset_page import Page
from reference_app.patterns.load_shedding import LoadShedder

__all__ = ["CandleFormat", "CandleRecord", "CandleService"]

MAX_WARM = 100
MAX_BAD_ROWS = 100
MAX_INSTRUMENT_ID = 2**31 - 1
EXPORT_PORTION = 10_000


class CandleService:
    """Reads the prices of past days and takes new ones in; one instance serves a whole process.

    Args:
        sessions: The session factory of the process.
        market: Knows the instruments.
        aggregates: Keeps weekly and monthly candles for all workers; None makes each when it is asked for.
    """

    def __init__(
        self, sessions: Sessions, market: MarketService, *, aggregates: Aggregates | None = None
    ) -> None:
        self._sessions, self._market = sessions, market
        self._aggregates = aggregates or Aggregates(None)
        self._importing = LoadShedder(max_running=1, max_waiting=0)
        self._exporting = LoadShedder(max_running=4, max_waiting=16)

    async def candles(
        self, symbol: str, start: dt.date | None, end: dt.date | None, cursor: str | None, size: int
    ) -> Page[Candle]:
        """Return a page of candles by date.

        Args:
            symbol: The instrument.
            start: The first day that is wanted; None begins with the oldest.
            end: The last day that is wanted; None goes on to the newest.
            cursor: The `next_cursor` of the page before; None asks for the first page.
            size: How many candles the page may hold.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
            InvalidCursor: The cursor was not given out with a page.
        """
        after = CANDLES.decode(cursor)
        instrument = await self._market.instrument(symbol)
        async with self._sessions() as session:
            rows = await CandleRepository(session).candles(instrument.id, start, end, after, size)
        return CANDLES.page(rows, size=size)

    async def last_candle(self, symbol: str) -> Candle:
        """Return the newest candle of an instrument.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
            NoQuote: The instrument has no candle.
        """
        instrument = await self._market.instrument(symbol)
        async with self._sessions() as session:
            candle = await CandleRepository(session).last_candle(instrument.id)
        if candle is None:
            raise NoQuote
        return candle

    async def aggregates(self, symbol: str, interval: Interval, year: int) -> bytes:
        """Return the weeks or months of an instrument that begin in a year, as the JSON of `AggregatesOut`.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
        """
        instrument = await self._market.instrument(symbol)
        start, end = _first_day(interval, year), _first_day(interval, year + 1)
        unit = "week" if interval is Interval.WEEKLY else "month"

        async def load() -> bytes:
            async with self._sessions() as session:
                rows = await CandleRepository(session).aggregates(instrument.id, unit, start, end)
            items = [AggregateOut.model_validate(row) for row in rows]
            body = AggregatesOut(symbol=symbol, interval=interval, year=year, items=items)
            return body.model_dump_json().encode()

        rendered = await self._aggregates.get(symbol, f"{symbol}:{interval}:{year}", load)
        assert rendered is not None
        return rendered

    async def warm(self, symbols: Sequence[str] | None = None) -> None:
        """Put the aggregates of each instrument's newest year into the cache before they are asked for.

        It does nothing without Redis, and gives up after a second.

        Args:
            symbols: The instruments, of which the first hundred are taken; None stands for all of them.
        """
        await self._aggregates.warm(partial(self._warm, symbols))

    async def _warm(self, symbols: Sequence[str] | None) -> None:
        if symbols is None:
            symbols = [row.symbol for row in (await self._market.instruments(None, MAX_WARM)).items]
        for symbol in symbols[:MAX_WARM]:
            with suppress(NoQuote):
                year = (await self.last_candle(symbol)).date.year
                for interval in Interval:
                    await self.aggregates(symbol, interval, year)

    async def load(self, names: Mapping[str, str], candles: Iterable[CandleRecord]) -> int:
        """Save instruments and candles, all or nothing; a second run changes nothing.

        Args:
            names: The name of each company, by its symbol.
            candles: Rows of these symbols; rows of unknown symbols are ignored.

        Returns:
            How many candles were new or corrected.
        """

        async def records() -> AsyncGenerator[CandleRecord | ValueError]:
            for candle in candles:
                yield candle

        async with self._sessions.begin() as session:
            await self._market.save_instruments(session, names)
            changed = await CandleRepository(session).save_candles(records())
        self._market.forget_instruments()
        await self._aggregates.drop(names)
        return changed

    async def import_candles(
        self, blocks: AsyncGenerator[bytes], format: CandleFormat
    ) -> tuple[int, Sequence[BadRow]]:
        """Insert or correct candles, and leave out up to a hundred rows that are no candles.

        Only one runs at a time in a process: it holds a connection and a transaction while its client sends.

        Args:
            blocks: The upload in blocks of whole lines, from `split_blocks`.
            format: How its lines are written.

        Returns:
            How many candles were new or corrected, and what was left out.

        Raises:
            ImportRejected: More than a hundred rows are bad; nothing was saved.
            ValueError: The upload is no list of candles, such as one without the header of its format.
            Overloaded: Another import is running.
        """
        async with self._importing:
            symbols = await self._market.all_symbols()
            async with self._sessions.begin() as session:
                changed, bad_rows, touched = await CandleRepository(session).import_candles(
                    blocks, format, symbols, MAX_BAD_ROWS
                )
            # After the commit: before it, somebody could put the old values back into the cache.
            await self._aggregates.drop(touched)
            await self.warm(touched)
        return changed, bad_rows

    async def export_candles(
        self, format: CandleFormat, symbol: str | None, dates: tuple[dt.date, dt.date]
    ) -> AsyncGenerator[bytes]:
        """Yield candles by instrument and day, ten thousand lines at a time.

        Each portion has a session of its own: a client that reads slowly holds no connection. So it is no
        snapshot; a candle that is there from beginning to end is in it once.

        Args:
            format: How the lines are written.
            symbol: The instrument; None exports the candles of all.
            dates: First and last day.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
            Overloaded: Too many exports are running.
        """
        first, last = 0, MAX_INSTRUMENT_ID
        if symbol is not None:
            first = last = (await self._market.instrument(symbol)).id

        async def read(after: Key) -> tuple[bytes, Key | None]:
            async with self._sessions() as session:
                keys = (after, (last, dt.date.max))
                return await CandleRepository(session).export_portion(format, keys, dates, EXPORT_PORTION)

        async with self._exporting, aclosing(read_ahead(read, (first, dt.date.min))) as portions:
            async for portion in portions:
                yield portion


def _first_day(interval: Interval, year: int) -> dt.date:
    """Return the first day of the first week (a Monday) or month that begins in the year."""
    january = dt.date(year, 1, 1)
    return january + dt.timedelta(days=-january.weekday() % 7) if interval is Interval.WEEKLY else january


@asynccontextmanager
async def open_service(resources: Resources) -> AsyncIterator[CandleService]:
    """Open the service of a process, and first put the aggregates that many will ask for into the cache."""
    market, aggregates = resources["services"][MarketService], Aggregates(resources["redis"])
    service = CandleService(resources["sessions"], market, aggregates=aggregates)
    await service.warm()
    yield service
