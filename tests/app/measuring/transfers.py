"""A million candles in and out: rows a second, and how much the worker grew meanwhile.

The client is a socket: an HTTP client would take longer over the bytes than the service does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from measuring.desk import Desk
from measuring.process import watching

from reference_app.candles.lines import CSV_HEADER

ROWS = 1_000_000
DAYS = 10_000
#: What issue "The reference app" asks for: rows a second, and megabytes.
GOALS = {"import, CSV": 50_000, "export, CSV": 300_000, "export, JSON Lines": 100_000, "export, JSON": 0}
GROWTH_GOAL_MB = 32
FORMATS = {
    "export, CSV": "text/csv",
    "export, JSON Lines": "application/jsonl",
    "export, JSON": "application/json",
}
URL = "/v1/candles"
ADD_INSTRUMENTS = """
INSERT INTO instruments (symbol, name)
SELECT 'B' || lpad(i::text, 3, '0'), 'Bench' FROM generate_series(0, 99) i ON CONFLICT DO NOTHING
"""
READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Transfer:
    """One import or export."""

    rows_per_s: float
    grown_mb: float


def candles(rows: int) -> Iterator[bytes]:
    """Yield candles of instruments with ten thousand days each, as CSV."""
    days = "".join(
        f"SYMB,{1900 + day // 336}-{day // 28 % 12 + 1:02}-{day % 28 + 1:02},"
        f"100.25,101.5,99.125,100.75,{1000 + day},100.7512345\n"
        for day in range(DAYS)
    ).encode()
    yield CSV_HEADER.encode() + b"\n"
    for number in range(rows // DAYS):
        yield days.replace(b"SYMB", b"B%03d" % number)


async def open_request(desk: Desk, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect and send the head of a request."""
    address = urlsplit(desk.app.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=READ_BYTES)
    fields = {"Host": address.netloc, "Connection": "close", **desk.headers}
    lines = [head, *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    return reader, writer


async def import_csv(desk: Desk, rows: int) -> Transfer:
    """Import new candles."""
    await desk.execute(ADD_INSTRUMENTS)
    await desk.execute("TRUNCATE candles")
    async with watching(desk.app.pid) as growth:
        started_s = time.perf_counter()
        head = f"POST {URL} HTTP/1.1\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked"
        reader, writer = await open_request(desk, head)
        for part in candles(rows):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        answer = await reader.read()
        elapsed_s = time.perf_counter() - started_s
    writer.close()
    report = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])
    if report.get("changed") != rows:
        raise SystemExit(f"the import failed: {report}")
    return Transfer(rows / elapsed_s, growth.mb)


async def export(desk: Desk, media_type: str, rows: int) -> Transfer:
    """Export everything."""
    async with watching(desk.app.pid) as growth:
        started_s = time.perf_counter()
        head = f"GET {URL} HTTP/1.1\r\nAccept: {media_type}\r\nAccept-Encoding: identity"
        reader, writer = await open_request(desk, head)
        lines, last = 0, b""
        while data := await reader.read(READ_BYTES):
            lines += data.count(b"\n") - data.count(b"\r")  # the lines of HTTP itself end with both
            last = (last + data)[-64:]
        elapsed_s = time.perf_counter() - started_s
    writer.close()
    if lines < rows - 1 or not last.endswith(b"0\r\n\r\n"):
        raise SystemExit(f"the export as {media_type} ended after {lines} lines: {last!r}")
    return Transfer(rows / elapsed_s, growth.mb)


async def transfers(desk: Desk, rounds: int, rows: int = ROWS) -> dict[str, list[Transfer]]:
    """Return the transfers of so many rounds."""
    found: dict[str, list[Transfer]] = {name: [] for name in GOALS}
    for _ in range(rounds):
        found["import, CSV"].append(await import_csv(desk, rows))
        for name, media_type in FORMATS.items():
            found[name].append(await export(desk, media_type, rows))
    return found
