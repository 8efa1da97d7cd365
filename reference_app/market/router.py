"""The market over HTTP."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from fastapi import Response

from reference_app.identity.dependencies import ACCESS_PROBLEMS, CurrentUser
from reference_app.infra.http.conditional import NOT_MODIFIED, Representation
from reference_app.infra.http.paging import Cursor, InvalidCursor, Page, PageSize, read_page
from reference_app.infra.http.routing import PrefixRouter
from reference_app.infra.http.state import AppRequest, service_of
from reference_app.market.problems import InstrumentNotFound, QuoteUnavailable
from reference_app.market.quotes import LiveQuoteOut
from reference_app.market.schemas import InstrumentOut, Symbol
from reference_app.market.service import MAX_INSTRUMENTS, MarketService
from reference_app.patterns.problem_details import documented

router_v2 = PrefixRouter(prefix="/v2/instruments", tags=["market"])
router = PrefixRouter(prefix="/v1/instruments", tags=["market"])
#: What is asked most stands first.
routers = (router_v2, router)

Market = Annotated[MarketService, service_of(MarketService)]


@router_v2.get(
    "/{symbol}/quote",
    response_model=LiveQuoteOut,
    responses=documented(InstrumentNotFound, QuoteUnavailable, *ACCESS_PROBLEMS) | NOT_MODIFIED,
)
async def read_live_quote(request: AppRequest, symbol: Symbol, user: CurrentUser) -> Response:
    """Return what the exchange says now: bid, ask and last price, some seconds old at most."""
    # Past `Market`, here and in `read_instrument`: a dependency costs some microseconds, which is nothing
    # beside a query, and several per cent of these two, which are asked most and answered from memory.
    quote = await request.state["services"][MarketService].live_quote(symbol)
    return quote.representation.answer(request)


@router.get("", responses=documented(InvalidCursor))
async def list_instruments(
    request: AppRequest, response: Response, market: Market, limit: PageSize = 100, cursor: Cursor = None
) -> Page[InstrumentOut]:
    """List the instruments by symbol."""
    return read_page(await market.instruments(cursor, limit), InstrumentOut.model_validate, request, response)


@router.get(
    "/{symbol}", response_model=InstrumentOut, responses=documented(InstrumentNotFound) | NOT_MODIFIED
)
async def read_instrument(request: AppRequest, symbol: Symbol) -> Response:
    """Return one instrument."""
    instrument = await request.state["services"][MarketService].instrument(symbol)
    return _instrument_as_sent(instrument.symbol, instrument.name).answer(request)


@lru_cache(maxsize=MAX_INSTRUMENTS)
def _instrument_as_sent(symbol: str, name: str) -> Representation:
    """Return the JSON with its ETag, made once: making both took about a sixth of an answer's processor time.

    It cannot be out of date: what it is made of is its key.
    """
    return Representation.of(InstrumentOut(symbol=symbol, name=name))
