"""Candles in bulk over HTTP: a million rows out in flat memory, a million in with every row checked."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from reference_app.identity.dependencies import ACCESS_PROBLEMS, CurrentUser, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.problems import NotAcceptable
from reference_app.infra.routing import PrefixRouter
from reference_app.market.candle_lines import CSV_HEADER, CSV_LINES, split_blocks
from reference_app.market.candle_lines import JSON_LINES as LINES_OF_JSON
from reference_app.market.problems import (
    ImportRejected,
    InstrumentNotFound,
    TransferBusy,
    UnsupportedMediaType,
)
from reference_app.market.router import MarketRequest
from reference_app.market.schemas import SYMBOL_PATTERN, IsoDate
from reference_app.market.service import EXPORT_CSV, EXPORT_JSON
from reference_app.patterns.jsonl_stream import BrokenOff, open_stream
from reference_app.patterns.load_shedding import Overloaded
from reference_app.patterns.negotiation import Negotiation
from reference_app.patterns.problem_details import documented

router = PrefixRouter(prefix="/candles", tags=["market"])

JSON, JSON_LINES, CSV = "application/json", "application/jsonl", "text/csv"
formats = Negotiation(JSON, JSON_LINES, CSV)
MarketWriter = Annotated[Principal, requires("market:write")]
MAX_IMPORT_BYTES = 1024**3
GZIP_LEVEL = 1  # a third of the time of level 6, and a tenth more bytes


class BadRowOut(BaseModel):
    """A row that was left out."""

    row: int
    reason: str


class ImportReport(BaseModel):
    """What an import did."""

    changed: int
    bad_rows: list[BadRowOut]


class Export(StreamingResponse):
    """A body in portions, which ends the reading from the database whatever happens to the client."""

    def __init__(self, first: bytes, portions: AsyncGenerator[bytes], media_type: str) -> None:
        self._portions = portions
        body = _csv(first, portions) if media_type == CSV else _json(first, portions)
        super().__init__(body, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with aclosing(self._portions):
            await super().__call__(scope, receive, send)


class Compressed(Response):
    """Another response, compressed where the client takes gzip."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self._app = GZipMiddleware(response, minimum_size=0, compresslevel=GZIP_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await self._app(scope, receive, send)


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
    request: MarketRequest,
    user: CurrentUser,
    media_type: Annotated[str, Depends(formats)],
    symbol: Annotated[str | None, Query(pattern=SYMBOL_PATTERN, description="Of one instrument.")] = None,
    start: Annotated[IsoDate, Query(description="First day, included.")] = dt.date(1900, 1, 1),
    end: Annotated[IsoDate, Query(description="Last day, included.")] = dt.date(2200, 12, 31),
) -> Response:
    """Export candles as JSON, JSON Lines or CSV, by Accept; with gzip where the client takes it."""
    template = EXPORT_CSV if media_type == CSV else EXPORT_JSON
    portions = request.state["market"].export_candles(template, symbol, (start, end))
    try:
        if media_type == JSON_LINES:
            response: Response = await open_stream(_lines(portions), chunk_bytes=0, encode=bytes)
        else:
            # The first portion decides about the status: what fails before it is an ordinary error.
            response = Export(await anext(portions, b""), portions, media_type)
    except Overloaded as error:
        raise TransferBusy(headers={"Retry-After": f"{error.retry_after_s:.0f}"}) from None
    response.headers.update({"Cache-Control": "private, no-store", "Vary": "Accept, Accept-Encoding"})
    return Compressed(response)


async def _lines(portions: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(portions):
        async for portion in portions:
            yield portion.removesuffix(b"\n")


async def _csv(first: bytes, portions: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield CSV_HEADER.encode() + b"\n" + first
    async for portion in _whole(portions):
        yield portion


async def _json(first: bytes, portions: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield b'{"items":[' + first.rstrip(b"\n").replace(b"\n", b",\n")
    async for portion in _whole(portions):
        yield b",\n" + portion.rstrip(b"\n").replace(b"\n", b",\n")
    yield b"]}"


async def _whole(portions: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    try:
        async for portion in portions:
            yield portion
    except (
        OSError
    ) as error:  # Starlette would take it for a client that has left, and end as if all were sent
        raise BrokenOff("the export broke off") from error


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
async def import_candles(request: MarketRequest, user: MarketWriter) -> ImportReport:
    """Insert or correct candles from CSV or JSON Lines; rows that are none are reported, up to a hundred.

    CSV begins with the header `symbol,date,open,high,low,close,volume,adjusted_close`. Sending the same file
    again changes nothing.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {CSV, JSON_LINES}:
        raise UnsupportedMediaType(f"Send {CSV} or {JSON_LINES}.")
    try:
        changed, bad_rows = await request.state["market"].import_candles(
            split_blocks(request.stream()), CSV_LINES if kind == CSV else LINES_OF_JSON
        )
    except ValueError as error:
        raise ImportRejected(f"{str(error).capitalize()}.") from None
    except Overloaded as error:
        raise TransferBusy(headers={"Retry-After": f"{error.retry_after_s:.0f}"}) from None
    return ImportReport(
        changed=changed, bad_rows=[BadRowOut(row=bad.number, reason=bad.reason) for bad in bad_rows]
    )
