"""How fast are quotes, exports and imports? Run with `make bench`, or as a script.

Quotes: requests a second of one uvicorn worker with the whole middleware stack, 32 connections and a token,
as a ratio to a bare FastAPI endpoint that returns one quote. Both are measured in turns, so that a busy
moment of the machine hits both. Export and import: a million candles over HTTP, and how much the worker grew
meanwhile.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
from deskbook.load import load
from deskbook.running import TOKEN_SECRET, USER
from deskbook.services import fresh_redis
from deskbook.serving import ServedApp, serving_app
from deskbook.serving.modules import write_module

from reference_app.identity.service import OPERATOR_SCOPES, SCOPES
from reference_app.identity.tokens import Tokens
from reference_app.market.candle_lines import CSV_HEADER

ROUNDS = 5
CLIENTS = 32
REQUESTS = 3_000
ROWS = 1_000_000
DAYS = 10_000
QUOTE, INSTRUMENT = "/v2/instruments/AAPL/quote", "/v1/instruments/AAPL"

BARE = """
from decimal import Decimal
from fastapi import FastAPI
from pydantic import BaseModel

class Quote(BaseModel):
    symbol: str
    bid: Decimal
    ask: Decimal
    last: Decimal
    as_of: str

app = FastAPI()

@app.get("/quote")
async def quote() -> Quote:
    price = Decimal("430.47")
    return Quote(symbol="AAPL", bid=price, ask=price, last=price, as_of="2026-11-22T09:30:00Z")
"""


async def rate_per_s(url: str, headers: dict[str, str]) -> float:
    """Return the answers a second; anything but 200 and 304 is a failure of the benchmark."""
    result = await load(
        url, clients=CLIENTS, requests=REQUESTS, seconds=120, warm_up_requests=200, headers=headers
    )
    if set(result.statuses) - {200, 304}:
        raise SystemExit(f"{url}: {result.statuses}")
    return result.rate_per_s


async def quotes(desk: ServedApp, headers: dict[str, str]) -> None:
    """Print the ratios to a bare endpoint."""
    write_module("bare_market_bench_app", BARE)
    ratios: dict[str, list[float]] = {}
    async with serving_app("bare_market_bench_app:app") as bare, httpx.AsyncClient() as client:
        for _ in range(ROUNDS):
            bare_rate = await rate_per_s(bare.url + "/quote", {})
            etag = (await client.get(desk.url + INSTRUMENT, headers=headers)).headers["etag"]
            for name, path, extra in (
                ("cached quote", QUOTE, {}),
                ("instrument", INSTRUMENT, {}),
                ("instrument, 304", INSTRUMENT, {"If-None-Match": etag}),
            ):
                rate = await rate_per_s(desk.url + path, headers | extra)
                ratios.setdefault(name, []).append(rate / bare_rate)
    for name, values in ratios.items():
        low, high = min(values), max(values)
        print(f"{name:20} {statistics.median(values):.2f} of a bare endpoint ({low:.2f} to {high:.2f})")


def resident_mb(pid: int) -> float:
    """Return the memory of a process in megabytes, by Linux; 0 elsewhere."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def candles() -> AsyncIterator[bytes]:
    """Yield a million candles of a hundred instruments as CSV."""
    yield CSV_HEADER.encode() + b"\n"
    for number in range(ROWS // DAYS):
        lines = [
            f"B{number:03},{1900 + day // 336}-{day // 28 % 12 + 1:02}-{day % 28 + 1:02},"
            f"100.25,101.5,99.125,100.75,{1000 + day},100.7512345\n"
            for day in range(DAYS)
        ]
        yield "".join(lines).encode()


async def transfers(desk: ServedApp, headers: dict[str, str]) -> None:
    """Print rows a second and growth in megabytes of an import and of exports."""
    connection = await asyncpg.connect(desk.settings["DATABASE_URL"])
    await connection.execute(
        "INSERT INTO instruments (symbol, name) "
        "SELECT 'B' || lpad(i::text, 3, '0'), 'Bench' FROM generate_series(0, 99) i"
    )
    await connection.close()
    async with httpx.AsyncClient(timeout=600, headers=headers) as client:
        before = resident_mb(desk.pid)
        started_s = time.perf_counter()
        kind = {"Content-Type": "text/csv"}
        reply = await client.post(desk.url + "/v1/candles", content=candles(), headers=kind)
        if reply.status_code != 200 or reply.json()["changed"] != ROWS:
            raise SystemExit(f"import: {reply.status_code} {reply.text[:500]}")
        report("import, CSV", ROWS, time.perf_counter() - started_s, resident_mb(desk.pid) - before)
        for media_type in ("text/csv", "application/jsonl", "application/json"):
            before, size, peak = resident_mb(desk.pid), 0, 0.0
            started_s = time.perf_counter()
            accept = {"Accept": media_type, "Accept-Encoding": "identity"}
            async with client.stream("GET", desk.url + "/v1/candles", headers=accept) as export:
                async for part in export.aiter_raw():
                    size += part.count(b"\n")
                    peak = max(peak, resident_mb(desk.pid)) if size % 50 == 0 else peak
            elapsed_s = time.perf_counter() - started_s
            if size < ROWS:
                raise SystemExit(f"export of {media_type}: {size} lines")
            report(f"export, {media_type}", size, elapsed_s, max(peak, resident_mb(desk.pid)) - before)


def report(name: str, rows: int, elapsed_s: float, grown_mb: float) -> None:
    """Print one line."""
    print(f"{name:26} {rows / elapsed_s:9,.0f} rows/s, {rows:,} rows, grew by {grown_mb:.0f} MB")


async def main() -> None:
    """Measure what the command line names, or everything."""
    parts = sys.argv[1:] or ["quotes", "transfers"]
    limits = {"DESK_RATE_LIMIT": "10000000", "DESK_TOKEN_SECRET": TOKEN_SECRET}
    async with fresh_redis() as redis, serving_app(settings={"REDIS_URL": redis, **limits}) as desk:
        connection = await asyncpg.connect(desk.settings["DATABASE_URL"])
        user_id = await connection.fetchval("SELECT id FROM users WHERE name = $1", USER)
        await connection.close()
        token = Tokens(TOKEN_SECRET, ttl_s=86_400).issue(user_id, {**SCOPES, **OPERATOR_SCOPES})
        headers = {"Authorization": f"Bearer {token}"}
        if "quotes" in parts:
            await quotes(desk, headers)
        if "transfers" in parts:
            await transfers(desk, headers)


if __name__ == "__main__":
    asyncio.run(main())
