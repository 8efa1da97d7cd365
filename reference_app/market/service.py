"""What the market does. Each method that reads the database is one unit of work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.infra.database.engine import Sessions
from reference_app.infra.process.resources import Resources
from reference_app.market.exchange_client import ExchangeQuote, create_exchange_client
from reference_app.market.exchange_simulator import create_exchange
from reference_app.market.models import SYMBOL, SYMBOL_PATTERN, Instrument
from reference_app.market.problems import InstrumentNotFound
from reference_app.market.quotes import LiveQuote, Quotes, create_quotes, live_quote
from reference_app.market.repository import INSTRUMENTS, MarketRepository
from reference_app.patterns.keyset_page import Page
from reference_app.patterns.single_flight import SingleFlight
from reference_app.patterns.ttl_cache import TTLCache

#: Other nouns may use these.
__all__ = ["SYMBOL", "SYMBOL_PATTERN", "Instrument", "MarketService"]

#: Another process may add or rename an instrument; this is for how long a worker may not have heard of it.
INSTRUMENT_TTL_S = 10.0
MAX_INSTRUMENTS = 10_000


class MarketService:
    """Knows the instruments and their prices of now; one instance serves a whole process.

    Args:
        sessions: The session factory of the process.
        quotes: What the exchange says, kept for a moment; None where no live prices are needed.
    """

    def __init__(self, sessions: Sessions, *, quotes: Quotes | None = None) -> None:
        self._sessions = sessions
        self._quotes = quotes
        self._instruments: TTLCache[str, Instrument] = TTLCache(
            ttl_s=INSTRUMENT_TTL_S, max_entries=MAX_INSTRUMENTS
        )
        self._flights: SingleFlight[Instrument] = SingleFlight()

    async def instruments(self, cursor: str | None, size: int) -> Page[Instrument]:
        """Return a page of instruments by symbol.

        Raises:
            InvalidCursor: The cursor was not given out with a page.
        """
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
                found = await MarketRepository(session).instrument(symbol)
            if found is None:
                raise InstrumentNotFound("List the instruments with GET /v1/instruments.")
            return found

        return await self._flights.do(symbol, lambda: self._instruments.get_or_load(symbol, read))

    async def symbols(self, instrument_ids: Collection[int]) -> dict[int, str]:
        """Return the symbols of instruments, in one query; `quote` then finds them in memory."""
        async with self._sessions() as session:
            found = await MarketRepository(session).instruments_of(instrument_ids)
        for instrument in found:
            self._instruments.put(instrument.symbol, instrument)
        return {instrument.id: instrument.symbol for instrument in found}

    async def all_symbols(self) -> frozenset[str]:
        """Return the symbols of all instruments, as they are in the database now."""
        async with self._sessions() as session:
            return await MarketRepository(session).symbols()

    async def save_instruments(self, session: AsyncSession, names: Mapping[str, str]) -> None:
        """Insert or rename instruments in the caller's transaction; `forget_instruments` belongs after it.

        Args:
            session: An open unit of work; the caller commits it.
            names: The companies by their symbols.
        """
        await MarketRepository(session).save_instruments(names)

    def forget_instruments(self) -> None:
        """Read instruments again from now on; before the commit, what was true until then would be kept."""
        self._instruments.clear()

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


@asynccontextmanager
async def open_service(resources: Resources) -> AsyncIterator[MarketService]:
    """Give the service to a process, with a client of the exchange of its own."""
    settings = resources["settings"]
    async with (
        create_exchange_client(settings, resources["exchange"] or create_exchange()) as client,
        create_quotes(client, settings) as quotes,
    ):
        yield MarketService(resources["sessions"], quotes=quotes)
