"""Candles over HTTP: those of one instrument by day, week or month, and all of them in and out in bulk."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import Depends, Query, Response

from reference_app.candles.aggregates import AggregatesOut, Interval
from reference_app.candles.export import CSV, FORMATS, JSON, JSON_LINES, Compressed, export_response
from reference_app.candles.lines import split_blocks
from reference_app.candles.problems import ImportRejected, NoQuote, TransferBusy, UnsupportedMediaType
from reference_app.candles.schemas import (
    BadRowOut,
    CandleOut,
    ImportReport,
    IsoDate,
    QuoteOut,
    Symbol,
    Year,
)
from reference_app.candles.service import CandleService
from reference_app.identity.dependencies import ACCESS_PROBLEMS, CurrentUser, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.http.cache_control import CacheControl, set_cache_control
from reference_app.infra.http.conditional import NOT_MODIFIED, Representation
from reference_app.infra.http.deprecation import deprecated_by
from reference_app.infra.http.paging import Cursor, InvalidCursor, Page, PageSize, read_page
from reference_app.infra.http.problems import NotAcceptable
from reference_app.infra.http.routing import PrefixRouter
from reference_app.infra.http.state import AppRequest, service_of
from reference_app.market.problems import InstrumentNotFound
from reference_app.market.service import SYMBOL_PATTERN
from reference_app.patterns.load_shedding import Overloaded
from reference_app.patterns.negotiation import Negotiation
from reference_app.patterns.problem_details import InvalidRequest, documented

#: In the docs they stand with the instruments, whose prices they are.
instruments_router = PrefixRouter(prefix="/v1/instruments", tags=["market"])
router = PrefixRouter(prefix="/v1/candles", tags=["market"])
routers = (instruments_router, router)

Candles = Annotated[CandleService, service_of(CandleService)]
Writer = Annotated[Principal, requires("market:write")]

formats = Negotiation(JSON, JSON_LINES, CSV)
MAX_IMPORT_BYTES = 1024**3

#: A quote that is the close of a day long past misleads: /v2 asks the exchange.
LAST_CLOSE_AS_QUOTE = deprecated_by(
    "/v2/instruments/{symbol}/quote",
    since=dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
    until=dt.datetime(2027, 11, 22, tzinfo=dt.UTC),
)


@instruments_router.get("/{symbol}/candles", responses=documented(InstrumentNotFound, InvalidCursor))
async def list_candles(
    request: AppRequest,
    response: Response,
    candles: Candles,
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
    page = await candles.candles(symbol, start, end, cursor, limit)
    return read_page(page, CandleOut.model_validate, request, response)


@instruments_router.get(
    "/{symbol}/aggregates/{interval}/{year}",
    response_model=AggregatesOut,
    responses=documented(InstrumentNotFound) | NOT_MODIFIED,
)
async def read_aggregates(
    request: AppRequest, symbol: Symbol, interval: Interval, year: Year, candles: Candles
) -> Response:
    """Return the weeks or the months of an instrument that begin in a year, oldest first."""
    body = await candles.aggregates(symbol, interval, year)
    return Representation.of(body, cache_control=CacheControl.A_MINUTE).answer(request)


@instruments_router.get(
    "/{symbol}/quote", responses=documented(InstrumentNotFound, NoQuote), **LAST_CLOSE_AS_QUOTE
)
async def read_quote(symbol: Symbol, candles: Candles) -> QuoteOut:
    """Return the newest price of an instrument: its last known close."""
    candle = await candles.last_candle(symbol)
    return QuoteOut(symbol=symbol, price=candle.close, as_of=candle.date)


@router.get(
    "",
    responses=documented(InstrumentNotFound, NotAcceptable, TransferBusy, *ACCESS_PROBLEMS)
    | {
        200: {
            "description": "By instrument and day. JSON Lines end with a line that says how many came.",
            "content": {
                JSON: {"schema": {"type": "object", "properties": {"items": {"type": "array"}}}},
                JSON_LINES: {"schema": {"type": "string"}},
                CSV: {"schema": {"type": "string"}},
            },
        }
    },
    response_class=Response,
)
async def export_candles(
    user: CurrentUser,
    candles: Candles,
    media_type: Annotated[str, Depends(formats)],
    symbol: Annotated[str | None, Query(pattern=SYMBOL_PATTERN, description="Of one instrument.")] = None,
    start: Annotated[IsoDate, Query(description="First day, included.")] = dt.date(1900, 1, 1),
    end: Annotated[IsoDate, Query(description="Last day, included.")] = dt.date(2200, 12, 31),
) -> Response:
    """Export candles as JSON, JSON Lines or CSV, by Accept; with gzip where the client takes it."""
    portions = candles.export_candles(FORMATS[media_type], symbol, (start, end))
    try:
        response = await export_response(media_type, portions)
    except Overloaded as error:
        raise _busy(error) from None
    set_cache_control(response, CacheControl.PRIVATE_NO_STORE)
    response.headers["Vary"] = "Accept, Accept-Encoding"
    return Compressed(response)


@router.post(
    "",
    responses=documented(ImportRejected, UnsupportedMediaType, TransferBusy, *ACCESS_PROBLEMS),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": {"type": "string"}} for kind in (CSV, JSON_LINES)},
        }
    },
    max_body_size=MAX_IMPORT_BYTES,
)
async def import_candles(request: AppRequest, user: Writer, candles: Candles) -> ImportReport:
    """Insert or correct candles from CSV or JSON Lines; rows that are none are reported, up to a hundred.

    CSV begins with the header `symbol,date,open,high,low,close,volume,adjusted_close`. Sending the same file
    again changes nothing.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {CSV, JSON_LINES}:
        raise UnsupportedMediaType(f"Send {CSV} or {JSON_LINES}.")
    try:
        blocks = split_blocks(request.stream())
        changed, bad_rows = await candles.import_candles(blocks, FORMATS[kind])
    except ValueError as error:
        raise ImportRejected(f"{str(error).capitalize()}.") from None
    except Overloaded as error:
        raise _busy(error) from None
    return ImportReport(
        changed=changed, bad_rows=[BadRowOut(row=bad.number, reason=bad.reason) for bad in bad_rows]
    )


def _busy(error: Overloaded) -> TransferBusy:
    return TransferBusy(headers={"Retry-After": f"{error.retry_after_s:.0f}"})
