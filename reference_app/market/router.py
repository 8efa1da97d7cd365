"""The market over HTTP."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Annotated

from fastapi import Depends, Query, Request, Response

from reference_app.identity.dependencies import ACCESS_PROBLEMS, CurrentUser
from reference_app.infra.conditional import NOT_MODIFIED, Representation
from reference_app.infra.deprecation import deprecated_by
from reference_app.infra.paging import (
    Cursor,
    InvalidCursor,
    Page,
    PageSize,
    read_page,
)
from reference_app.infra.routing import PrefixRouter
from reference_app.infra.state import AppRequest, AppState
from reference_app.market.aggregates import AggregatesOut, Interval
from reference_app.market.problems import InstrumentNotFound, NoQuote, QuoteUnavailable
from reference_app.market.quotes import LiveQuoteOut
from reference_app.market.schemas import (
    CandleOut,
    InstrumentOut,
    IsoDate,
    QuoteOut,
    Symbol,
    Year,
)
from reference_app.market.service import MAX_INSTRUMENTS, MarketService
from reference_app.patterns.problem_details import InvalidRequest, documented

router = PrefixRouter(prefix="/instruments", tags=["market"])
router_v2 = PrefixRouter(prefix="/v2/instruments", tags=["market"])  # whole: /v1 need not be looked up here

#: A quote that is the close of a day long past misleads: /v2 asks the exchange.
LAST_CLOSE_AS_QUOTE = deprecated_by(
    "/v2/instruments/{symbol}/quote",
    since=dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
    until=dt.datetime(2027, 11, 22, tzinfo=dt.UTC),
)


class MarketState(AppState):
    """The resources of the app and its market."""

    market: MarketService


class MarketRequest(Request[MarketState]):
    """For annotations: a request whose `state["market"]` is typed (see AppRequest)."""


# async, though it awaits nothing: FastAPI runs a plain function in a thread, which costs more than the call.
async def market_service(request: MarketRequest) -> MarketService:
    """Return the service of this app."""
    return request.state["market"]


Market = Annotated[MarketService, Depends(market_service)]


@router.get("", responses=documented(InvalidCursor))
async def list_instruments(
    request: AppRequest, response: Response, market: Market, limit: PageSize = 100, cursor: Cursor = None
) -> Page[InstrumentOut]:
    """List the instruments by symbol."""
    return read_page(await market.instruments(cursor, limit), InstrumentOut.model_validate, request, response)


@router.get(
    "/{symbol}", response_model=InstrumentOut, responses=documented(InstrumentNotFound) | NOT_MODIFIED
)
async def read_instrument(request: MarketRequest, symbol: Symbol) -> Response:
    """Return one instrument."""
    # Straight from the state, as for live quotes below.
    instrument = await request.state["market"].instrument(symbol)
    return _instrument_as_sent(instrument.symbol, instrument.name).answer(request)


@lru_cache(maxsize=MAX_INSTRUMENTS)
def _instrument_as_sent(symbol: str, name: str) -> Representation:
    """Return the JSON with its ETag, made once: making both took about a sixth of an answer's processor time.

    It cannot be out of date: what it is made of is its key.
    """
    return Representation.of(InstrumentOut(symbol=symbol, name=name), cache_control="private, no-cache")


@router.get("/{symbol}/candles", responses=documented(InstrumentNotFound, InvalidCursor))
async def list_candles(
    request: AppRequest,
    response: Response,
    market: Market,
    symbol: Symbol,
    start: Annotated[IsoDate | None, Query(description="First day, included.")] = None,
    end: Annotated[IsoDate | None, Query(description="Last day, included.")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> Page[CandleOut]:
    """List the daily candles of an instrument, oldest first."""
    if start and end and start > end:
        raise InvalidRequest(
            errors=[{"in": "query", "pointer": "/start", "detail": "start must not be after end"}]
        )
    page = await market.candles(symbol, start, end, cursor, limit)
    return read_page(page, CandleOut.model_validate, request, response)


@router.get(
    "/{symbol}/aggregates/{interval}/{year}",
    response_model=AggregatesOut,
    responses=documented(InstrumentNotFound) | NOT_MODIFIED,
)
async def read_aggregates(
    request: AppRequest, symbol: Symbol, interval: Interval, year: Year, market: Market
) -> Response:
    """Return the weeks or the months of an instrument that begin in a year, oldest first."""
    body = await market.aggregates(symbol, interval, year)
    return Representation.of(body, cache_control="public, max-age=60").answer(request)


@router.get("/{symbol}/quote", responses=documented(InstrumentNotFound, NoQuote), **LAST_CLOSE_AS_QUOTE)
async def read_quote(symbol: Symbol, market: Market) -> QuoteOut:
    """Return the newest price of an instrument: its last known close."""
    candle = await market.last_candle(symbol)
    return QuoteOut(symbol=symbol, price=candle.close, as_of=candle.date)


@router_v2.get(
    "/{symbol}/quote",
    response_model=LiveQuoteOut,
    responses=documented(InstrumentNotFound, QuoteUnavailable, *ACCESS_PROBLEMS) | NOT_MODIFIED,
)
async def read_live_quote(request: MarketRequest, symbol: Symbol, user: CurrentUser) -> Response:
    """Return what the exchange says now: bid, ask and last price, some seconds old at most."""
    # Straight from the state: the most asked route of all pays for no dependency that it can do without.
    quote = await request.state["market"].live_quote(symbol)
    return quote.representation.answer(request)
