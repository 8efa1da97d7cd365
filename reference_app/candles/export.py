"""The body of an export: a million candles as JSON, JSON Lines or CSV in flat memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from reference_app.candles.lines import CSV_HEADER
from reference_app.candles.models import CandleFormat
from reference_app.patterns.jsonl_stream import BrokenOff, open_stream

JSON, JSON_LINES, CSV = "application/json", "application/jsonl", "text/csv"
#: How the candles of a body are written; JSON and JSON Lines differ only in what stands around them.
FORMATS = {JSON: CandleFormat.JSON, JSON_LINES: CandleFormat.JSON, CSV: CandleFormat.CSV}
GZIP_LEVEL = 1  # a third of the time of level 6, and a tenth more bytes


class Compressed(Response):
    """Another response, compressed where the client takes gzip."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self._app = GZipMiddleware(response, minimum_size=0, compresslevel=GZIP_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await self._app(scope, receive, send)


async def export_response(media_type: str, portions: AsyncGenerator[bytes]) -> Response:
    """Return the response that sends an export; what fails before the first portion is an ordinary error.

    Args:
        media_type: One of `JSON`, `JSON_LINES` and `CSV`.
        portions: Lines in the format that `FORMATS` names for the media type.

    Raises:
        Exception: What reading the first portion raises.
    """
    if media_type == JSON_LINES:
        return await open_stream(_lines(portions), chunk_bytes=0, encode=bytes)
    return _Export(await anext(portions, b""), portions, media_type)


class _Export(StreamingResponse):
    """A body in portions, which ends the reading from the database whatever happens to the client."""

    def __init__(self, first: bytes, portions: AsyncGenerator[bytes], media_type: str) -> None:
        self._portions = portions
        body = _csv(first, portions) if media_type == CSV else _json(first, portions)
        super().__init__(body, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._portions):
            await super().__call__(scope, receive, send)


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
    except OSError as error:
        # Starlette would take it for a client that has left, and end as if all had been sent.
        raise BrokenOff("the export broke off") from error
