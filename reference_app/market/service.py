"""What the market does. Each method is one unit of work with a session of its own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from reference_app.infra.database import Sessions
from reference_app.infra.paging import cut
from reference_app.market.models import Candle, CandleRecord, Instrument
from reference_app.market.problems import InstrumentNotFound, NoQuote
from reference_app.market.repository import MarketRepository


class MarketService:
    """Reads prices and takes new ones in.

    Args:
        sessions: The session factory of the app.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def instruments(self, after: str | None, page_size: int) -> tuple[Sequence[Instrument], bool]:
        """Return a page of instruments by symbol, and whether more follow."""
        async with self._sessions() as session:
            return cut(await MarketRepository(session).instruments(after, page_size + 1), page_size)

    async def instrument(self, symbol: str) -> Instrument:
        """Return one instrument.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
        """
        async with self._sessions() as session:
            return await _find(MarketRepository(session), symbol)

    async def candles(
        self, symbol: str, start: dt.date | None, end: dt.date | None, after: dt.date | None, page_size: int
    ) -> tuple[Sequence[Candle], bool]:
        """Return a page of candles by date, and whether more follow.

        Args:
            symbol: Of the instrument.
            start: First day wanted; None: from the beginning.
            end: Last day wanted; None: to the end.
            after: The last day of the page before.
            page_size: How many at most.

        Raises:
            InstrumentNotFound: No instrument has this symbol.
        """
        async with self._sessions() as session:
            repository = MarketRepository(session)
            instrument = await _find(repository, symbol)
            return cut(await repository.candles(instrument.id, start, end, after, page_size + 1), page_size)

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

    async def load(self, names: dict[str, str], candles: Iterable[CandleRecord]) -> int:
        """Take in instruments and candles, all or nothing; a second run changes nothing.

        Args:
            names: Symbol to company name.
            candles: Rows of these symbols; rows of unknown symbols are ignored.

        Returns:
            How many candles were new or corrected.
        """
        async with self._sessions.begin() as session:
            repository = MarketRepository(session)
            await repository.save_instruments(names)
            return await repository.save_candles(candles)


async def _find(repository: MarketRepository, symbol: str) -> Instrument:
    instrument = await repository.instrument(symbol)
    if instrument is None:
        raise InstrumentNotFound("List the instruments with GET /v1/instruments.")
    return instrument
