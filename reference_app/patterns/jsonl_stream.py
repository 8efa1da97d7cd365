# /// script
# requires-python = ">=3.11"
# dependencies = ["fastapi>=0.128"]
# ///
"""Stream rows as JSON Lines in flat memory, so that the client can tell the whole from a part.

Use it for exports that are too long for one document. A list of a million rows costs gigabytes and minutes
before the first byte. And a stream that breaks in the middle has said 200 already: here the last line is an
end mark with the number of rows, and what has no end mark is not whole.

Do not use it for pages that people turn (`keyset_page`), nor for live events, which have no end (SSE).

Limits: the status is decided with the first row; what fails before it is an ordinary error. Rows wait until
`chunk_bytes` are full: 0 for a slow source. While it streams, the rows hold what they read from: read page by
page with a session for each, or a slow client holds a connection of the pool for as long as it likes. Row by
row it is about as fast as the encoder; COPY to a file is faster.

Instead: FastAPI streams what an endpoint yields as JSON Lines: each row is a chunk, no end mark, a 200 before
the first row is known, and when the client leaves, the generator is closed when it is collected some time.
`jsonlines` reads and writes files.

Example:
    >>> import asyncio
    >>> async def rows() -> AsyncGenerator[dict[str, str]]:
    ...     yield {"symbol": "AAPL"}
    ...     yield {"symbol": "IBM"}
    >>> async def export() -> None:
    ...     response = await open_stream(rows())  # what the endpoint returns
    ...     lines = [line async for chunk in response.body_iterator for line in chunk.splitlines()]
    ...     print(lines[-1])
    ...     async def received():  # or response.aiter_lines() of httpx
    ...         for line in lines[:-1]:
    ...             yield line
    ...     try:
    ...         print([row async for row in read_rows(received())])
    ...     except Incomplete as error:
    ...         print(error)
    >>> asyncio.run(export())
    b'{"end":{"rows":2}}'
    the last line is no end mark: the stream was cut

Source: jsonlines.org; RFC 9112 section 8 on incomplete messages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "application/jsonl"
_END = object()
#: Decimals and dates as strings, models and dataclasses as objects; NaN is no JSON.
encode_row: Callable[[object], bytes] = partial(to_json, inf_nan_mode="null")
#: Ends of lines for Python's `splitlines`, and so for httpx, which JSON lets stand as they are in a string.
_LINE_ENDS = {mark.encode(): f"\\u{ord(mark):04x}".encode() for mark in "\u0085\u2028\u2029"}


class Incomplete(Exception):
    """The stream ended without an end mark, or with the wrong one: rows are missing."""


class BrokenOff(Exception):
    """The source failed with an OSError in the middle; the server cuts the connection."""


class JsonLines(StreamingResponse):
    """A response of lines; from `open_stream`.

    Attributes:
        rows: How many rows have been handed to the server so far.
        size_bytes: How many bytes have been.
        complete: Whether the end mark has been.
    """

    def __init__(
        self, rows: AsyncGenerator[Any], first: Any, chunk_bytes: int, encode: Callable[[Any], bytes]
    ) -> None:
        self._source = rows
        self._first = first
        self._chunk_bytes = chunk_bytes
        self._encode = encode
        self.rows = self.size_bytes = 0
        self.complete = False
        self._lines = self._chunks()
        super().__init__(self._lines, headers={"X-Accel-Buffering": "no"}, media_type=MEDIA_TYPE)

    async def _chunks(self) -> AsyncGenerator[bytes]:
        chunk = bytearray()
        row = self._first
        while row is not _END:
            lines = self._encode(row)
            for mark, escaped in _LINE_ENDS.items():
                lines = lines.replace(mark, escaped)
            chunk += lines + b"\n"
            self.rows += 1 + lines.count(b"\n")
            if len(chunk) >= self._chunk_bytes:
                self.size_bytes += len(chunk)
                yield bytes(chunk)
                chunk.clear()
                # Neither rows in memory nor a quick client make this task wait: let others have their turn.
                await asyncio.sleep(0)
            try:
                row = await anext(self._source, _END)
            except OSError as error:  # Starlette takes it, and so a TimeoutError, for a client that has left
                raise BrokenOff(f"the rows broke off after {self.rows}") from error
        chunk += json.dumps({"end": {"rows": self.rows}}, separators=(",", ":")).encode() + b"\n"
        self.size_bytes += len(chunk)
        yield bytes(chunk)
        self.complete = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close the rows whatever happens: a client that leaves ends no generator by itself."""
        async with aclosing(self._source), aclosing(self._lines):
            await super().__call__(scope, receive, send)


async def open_stream(
    rows: AsyncGenerator[Any],
    *,
    chunk_bytes: int = 64 * 1024,
    encode: Callable[[Any], bytes] = encode_row,
) -> JsonLines:
    """Wait for the first row, and return the response: what fails until then is an error with a status.

    Args:
        rows: Closed when the response is over.
        chunk_bytes: Lines are collected up to this size; 0 sends each at once.
        encode: Makes one line of a row, without its end; or of many rows at once as many lines.
    """
    return JsonLines(rows, await anext(rows, _END), chunk_bytes, encode)


async def read_rows(lines: AsyncIterable[str | bytes]) -> AsyncGenerator[Any]:
    """Yield the rows of a stream, at a client.

    Args:
        lines: Of the body, such as `response.aiter_lines()` of httpx.

    Raises:
        Incomplete: Do not use what was read.
    """
    rows = 0
    last: str | bytes | None = None  # a row only if another line follows: else it is the end mark
    async for line in lines:
        if last is not None:
            try:
                row = json.loads(last)
            except ValueError:
                raise Incomplete(f"line {rows + 1} is no JSON: this is no such stream") from None
            yield row
            rows += 1
        last = line
    try:
        mark = json.loads(last or "")
    except ValueError:
        mark = None
    if not (isinstance(mark, dict) and set(mark) == {"end"}):
        raise Incomplete("the last line is no end mark: the stream was cut")
    if mark["end"] != {"rows": rows}:
        raise Incomplete(f"{rows} rows came, and the end mark says {mark['end']}")
