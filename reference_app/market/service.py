"""What the market does. Each method that reads or writes the database is one unit of work."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial

from reference_app.infra.database import Sessions
from reference_app.market.aggregates import AggregateOut, Aggregates, AggregatesOut, Interval
from reference_app.market.candle_lines import LineFormat
from reference_app.market.exchange_client import ExchangeQuote, create_exchange_client
from reference_app.market.exchange_simulator import create_exchange
from reference_app.market.models import Candle, CandleRecord, Instrument
from reference_app.market.problems import InstrumentNotFound, NoQuote
from reference_app.market.quotes import LiveQuote, Quotes, create_quotes, live_quote
from reference_app.market.read_ahead import read_ahead
from reference_app.market.repository import (
    CANDLES,
    EXPORT_CSV,
    EXPORT_JSON,
    INSTRUMENTS,
    Key,
    MarketRepository,
)
from reference_app.patterns.bulk_copy import BadRow
from reference_app.patterns.keyset_page import Page
from reference_app.patterns.load_shedding import LoadShedder
from reference_app.patterns.single_flight import SingleFlight
from reference_app.patterns.ttl_cache import TTLCache
from reference_app.settings import Settings

__all__ = ["EXPORT_CSV", "EXPORT_JSON", "MarketService"]

#: Another process may add or rename an instrument; this is for how long a worker may not have heard of it.
INSTRUMENT_TTL_S = 10.0
MAX_INSTRUMENTS = 10_000
MAX_WARM = 100
MAX_BAD_ROWS = 100
MAX_ID = 2**31 - 1
EXPORT_PORTION = 10_000


class MarketService:
    """Reads prices and takes new ones in; one instance serves a whole process.

    Args:
        sessions: The session factory of the app.
        quotes: What the exchange says, kept for a moment; None where no live prices are needed.
        aggregates: Weekly and monthly candles, kept for all workers; None: each is made when it is asked for.
    """

    def __init__(
        self, sessions: Sessions, *, quotes: Quotes | None = None, aggregates: Aggregates | None = None
    ) -> None:
        self._sessions = sessions
        self._quotes = quotes
        self._aggregates = aggregates or Aggregates(None)
        self._instruments: TTLCache[str, Instrument] = TTLCache(
            ttl_s=INSTRUMENT_TTL_S, max_entries=MAX_INSTRUMENTS
        )
        self._flights: SingleFlight[Instrument] = SingleFlight()
        self._importing = LoadShedder(max_running=1, max_waiting=0)
        self._exporting = LoadShedder(max_running=4, max_waiting=16)

    async def instruments(self, cursor: str | None, size: int) -> Page[Instrument]:
        """Return a page of instruments by symbol; InvalidCursor for a cursor of no page before."""
        after = INSTRUMENTS.decode(cursor)
        async with self._sessions() as session:
            rows = await MarketRepository(session).instruments(after, size)
        return INSTRUMENTS.page(rows, size=size)

    async def instrument(self, symbol: str) -> Instrument:
        """Return one instrument.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
        """
        cached = self._instruments.get(symbol)
        if cached is not None:
            return cached

        async def read() -> Instrument:
            async with self._sessions() as session:
                return await _find(MarketRepository(session), symbol)

        return await self._flights.do(symbol, lambda: self._instruments.get_or_load(symbol, read))

    async def symbols(self, instrument_ids: Collection[int]) -> dict[int, str]:
        """Return the symbols of instruments, in one query; `quote` then finds them in memory."""
        async with self._sessions() as session:
            found = await MarketRepository(session).instruments_of(instrument_ids)
        for instrument in found:
            self._instruments.put(instrument.symbol, instrument)
        return {instrument.id: instrument.symbol for instrument in found}

    async def quote(self, symbol: str) -> ExchangeQuote:
        """Return what the exchange says about an instrument, read some seconds ago at most.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
            QuoteUnavailable: The exchange gives none, and there is no older one to fall back on.
        """
        return (await self.live_quote(symbol)).quote

    async def live_quote(self, symbol: str) -> LiveQuote:
        """Return the same, ready to be sent.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
            QuoteUnavailable: The exchange gives none, and there is no older one to fall back on.
        """
        if self._instruments.get(symbol) is None:
            await self.instrument(symbol)
        if self._quotes is None:
            raise RuntimeError("this market was made without quotes: take the one of the app's state")
        return await live_quote(self._quotes, symbol)

    async def candles(
        self, symbol: str, start: dt.date | None, end: dt.date | None, cursor: str | None, size: int
    ) -> Page[Candle]:
        """Return a page of candles by date.

        Args:
            symbol: Of the instrument.
            start: First day wanted; None: from the beginning.
            end: Last day wanted; None: to the end.
            cursor: Of the page before.
            size: How many at most.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
            InvalidCursor: The cursor is of no page before.
        """
        after = CANDLES.decode(cursor)
        async with self._sessions() as session:
            repository = MarketRepository(session)
            instrument = await _find(repository, symbol)
            rows = await repository.candles(instrument.id, start, end, after, size)
        return CANDLES.page(rows, size=size)

    async def last_candle(self, symbol: str) -> Candle:
        """Return the newest candle of an instrument.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
            NoQuote: It has no candle.
        """
        async with self._sessions() as session:
            repository = MarketRepository(session)
            candle = await repository.last_candle((await _find(repository, symbol)).id)
        if candle is None:
            raise NoQuote
        return candle

    async def aggregates(self, symbol: str, interval: Interval, year: int) -> bytes:
        """Return the weeks or months of an instrument that begin in a year, as the JSON of `AggregatesOut`.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
        """
        instrument = await self.instrument(symbol)
        start, end = _first_day(interval, year), _first_day(interval, year + 1)
        unit = "week" if interval is Interval.WEEKLY else "month"

        async def load() -> bytes:
            async with self._sessions() as session:
                rows = await MarketRepository(session).aggregates(instrument.id, unit, start, end)
            items = [AggregateOut.model_validate(row) for row in rows]
            body = AggregatesOut(symbol=symbol, interval=interval, year=year, items=items)
            return body.model_dump_json().encode()

        rendered = await self._aggregates.get(symbol, f"{symbol}:{interval}:{year}", load)
        assert rendered is not None
        return rendered

    async def warm(self, symbols: Sequence[str] | None = None) -> None:
        """Have the aggregates of each instrument's last year at hand before they are asked for.

        Args:
            symbols: Of which instruments; None: of the first hundred.
        """
        await self._aggregates.warm(partial(self._warm, symbols))

    async def _warm(self, symbols: Sequence[str] | None) -> None:
        if symbols is None:
            symbols = [row.symbol for row in (await self.instruments(None, MAX_WARM)).items]
        for symbol in symbols[:MAX_WARM]:
            with suppress(NoQuote):
                year = (await self.last_candle(symbol)).date.year
                for interval in Interval:
                    await self.aggregates(symbol, interval, year)

    async def load(self, names: dict[str, str], candles: Iterable[CandleRecord]) -> int:
        """Take in instruments and candles, all or nothing; a second run changes nothing.

        Args:
            names: Symbol to company name.
            candles: Rows of these symbols; rows of unknown symbols are ignored.

        Returns:
            How many candles were new or corrected.
        """

        async def records() -> AsyncGenerator[CandleRecord | ValueError]:
            for candle in candles:
                yield candle

        async with self._sessions.begin() as session:
            repository = MarketRepository(session)
            await repository.save_instruments(names)
            changed = await repository.save_candles(records())
        self._instruments.clear()
        await self._aggregates.drop(names)
        return changed

    async def import_candles(
        self, blocks: AsyncGenerator[bytes], format: LineFormat
    ) -> tuple[int, Sequence[BadRow]]:
        """Insert or correct candles, and leave out up to a hundred rows that are none.

        One at a time in a process: each holds a connection and a transaction for as long as its client sends.

        Args:
            blocks: Of the upload, as they come, from `split_blocks`.
            format: Of its lines.

        Returns:
            How many candles were new or corrected, and what was left out.

        Raises:
            ImportRejected: More rows than that are bad; nothing was saved.
            ValueError: This is no list of candles.
            Overloaded: Another import is running.
        """
        async with self._importing:
            async with self._sessions() as session:
                symbols = await MarketRepository(session).symbols()
            async with self._sessions.begin() as session:
                changed, bad_rows, touched = await MarketRepository(session).import_candles(
                    blocks, format, symbols, MAX_BAD_ROWS
                )
            # After the commit: before it, somebody could put the old values back into the cache.
            await self._aggregates.drop(touched)
            await self.warm(touched)
        return changed, bad_rows

    async def export_candles(
        self, template: str, symbol: str | None, dates: tuple[dt.date, dt.date]
    ) -> AsyncGenerator[bytes]:
        """Yield candles by instrument and day, some thousand lines at a time.

        Each portion has a session of its own: a client that reads slowly holds no connection. So it is no
        snapshot; a candle that is there from beginning to end is in it once.

        Args:
            template: `EXPORT_CSV` or `EXPORT_JSON` of the repository.
            symbol: Of one instrument; None: of all.
            dates: First and last day.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
            Overloaded: Too many exports are running.
        """
        first, last = 0, MAX_ID
        if symbol is not None:
            first = last = (await self.instrument(symbol)).id

        async def read(after: Key) -> tuple[bytes, Key | None]:
            async with self._sessions() as session:
                keys = (after, (last, dt.date.max))
                return await MarketRepository(session).export_portion(template, keys, dates, EXPORT_PORTION)

        async with self._exporting, aclosing(read_ahead(read, (first, dt.date.min))) as portions:
            async for portion in portions:
                yield portion


def _first_day(interval: Interval, year: int) -> dt.date:
    """Return the first day of the first week (a Monday) or month that begins in the year."""
    january = dt.date(year, 1, 1)
    return january + dt.timedelta(days=-january.weekday() % 7) if interval is Interval.WEEKLY else january


@asynccontextmanager
async def open_market(sessions: Sessions, settings: Settings) -> AsyncIterator[MarketService]:
    """Give the service to a process besides the web workers, with a client of the exchange of its own."""
    async with (
        create_exchange_client(settings, create_exchange()) as client,
        create_quotes(client, settings) as quotes,
    ):
        yield MarketService(sessions, quotes=quotes)


async def _find(repository: MarketRepository, symbol: str) -> Instrument:
    instrument = await repository.instrument(symbol)
    if instrument is None:
        raise InstrumentNotFound("List the instruments with GET /v1/instruments.")
    return instrument
