"""Quotes of the exchange, kept for a moment: nobody waits for a fresh one while a young one is at hand."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from reference_app.infra.http.cache_control import CacheControl
from reference_app.infra.http.conditional import Representation
from reference_app.market.exchange_client import (
    ExchangeBusy,
    ExchangeClient,
    ExchangeFailed,
    ExchangeQuote,
    UnknownSymbol,
)
from reference_app.market.problems import QuoteUnavailable
from reference_app.patterns.circuit_breaker import CircuitOpen
from reference_app.patterns.money import Price
from reference_app.patterns.stale_while_revalidate import NotLoaded, StaleWhileRevalidate
from reference_app.settings import Settings


class LiveQuoteOut(BaseModel):
    """What the exchange says, which is simulated: prices in US dollars a share, and when they were made."""

    model_config = ConfigDict(from_attributes=True)

    symbol: str = Field(examples=["AAPL"])
    bid: Price = Field(description="What buyers offer.")
    ask: Price = Field(description="What sellers want.")
    last: Price = Field(description="What was paid last.")
    as_of: dt.datetime = Field(description="Some seconds old at most.", examples=["2026-11-22T09:30:00Z"])
    source: Literal["simulated"] = "simulated"


@dataclass(frozen=True)
class LiveQuote:
    """A quote and what goes over the wire for it: made once for all who ask within a second."""

    quote: ExchangeQuote
    representation: Representation


Quotes = StaleWhileRevalidate[str, LiveQuote]


def create_quotes(client: ExchangeClient, settings: Settings) -> Quotes:
    """Return the cache of quotes; whoever creates it enters it as a context manager.

    One load a symbol at a time, so a thousand requests for one symbol are one call to the exchange.

    Args:
        client: Asks the exchange.
        settings: They say how long a quote is fresh, and for how long it may then stand in for a fresh one.
    """

    async def load(symbol: str) -> LiveQuote:
        quote = await client.quote(symbol)
        body = LiveQuoteOut.model_validate(quote)
        # Without Last-Modified: a quote changes twice in a second, and another worker may have the later one.
        representation = Representation.of(body, cache_control=CacheControl.A_SECOND)
        return LiveQuote(quote, representation)

    return StaleWhileRevalidate(
        load=load,
        fresh_s=settings.quote_fresh_s,
        stale_s=settings.quote_stale_s,
        # Loads beyond what the pool of connections takes would only wait there.
        max_loads=2 * settings.exchange_connections,
    )


async def live_quote(quotes: Quotes, symbol: str) -> LiveQuote:
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
