"""Quotes of the exchange, kept for a moment: nobody waits for a fresh one while a young one is at hand."""

from __future__ import annotations

import math

from reference_app.market.exchange_client import (
    ExchangeBusy,
    ExchangeClient,
    ExchangeFailed,
    ExchangeQuote,
    UnknownSymbol,
)
from reference_app.market.problems import QuoteUnavailable
from reference_app.patterns.circuit_breaker import CircuitOpen
from reference_app.patterns.stale_while_revalidate import NotLoaded, StaleWhileRevalidate
from reference_app.settings import Settings

Quotes = StaleWhileRevalidate[str, ExchangeQuote]


def create_quotes(client: ExchangeClient, settings: Settings) -> Quotes:
    """Return the cache of quotes; whoever creates it enters it as a context manager.

    One load a symbol at a time, so a thousand requests for one symbol are one call to the exchange.

    Args:
        client: Of the exchange.
        settings: How long a quote is fresh, and how long it may then stand in.
    """
    return StaleWhileRevalidate(
        load=client.quote,
        fresh_s=settings.quote_fresh_s,
        stale_s=settings.quote_stale_s,
        # Loads beyond what the pool of connections takes would only wait there.
        max_loads=2 * settings.exchange_connections,
    )


async def live_quote(quotes: Quotes, symbol: str) -> ExchangeQuote:
    """Return the quote of a symbol, `fresh_s + stale_s` old at most.

    Raises:
        QuoteUnavailable: The exchange gives none, and there is none from before.
    """
    try:
        return await quotes.get(symbol)
    except (ExchangeBusy, CircuitOpen) as error:
        retry_after_s = max(1, math.ceil(error.retry_after_s))
    except (ExchangeFailed, NotLoaded, UnknownSymbol):
        retry_after_s = 1
    raise QuoteUnavailable(headers={"Retry-After": str(retry_after_s)})
