"""How much faster is the load generator than httpx? Run with `make bench`, or as a script.

Both send GET requests over 8 connections to the same trivial endpoint, which a uvicorn serves from a process
of its own. Five rounds, in turns, so that a busy moment of the machine hits both.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import httpx
from deskbook.load import load
from deskbook.module_cells import write_module
from deskbook.serving import serving_app

ROUNDS = 5
CONNECTIONS = 8
LOAD_REQUESTS = 8_000
HTTPX_REQUESTS = 1_000
#: A generator below this would be the bottleneck of what it measures.
AT_LEAST = 5.0

APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
"""


async def load_rate_per_s(url: str) -> float:
    """Return the answers a second that the load generator got."""
    result = await load(url, clients=CONNECTIONS, requests=LOAD_REQUESTS, seconds=60, warm_up_requests=200)
    assert result.statuses == {200: LOAD_REQUESTS}, result
    return result.rate_per_s


async def httpx_rate_per_s(url: str) -> float:
    """Return the answers a second that one httpx client with 8 tasks got."""
    left = iter(range(HTTPX_REQUESTS))
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=CONNECTIONS)) as client:

        async def ask() -> None:
            for _ in left:
                (await client.get(url)).raise_for_status()

        await asyncio.gather(*(client.get(url) for _ in range(CONNECTIONS)))
        started_s = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
        return HTTPX_REQUESTS / (time.perf_counter() - started_s)


async def measure() -> list[tuple[float, float]]:
    """Return (load generator, httpx) in answers a second, a pair for each round."""
    write_module("trivial_bench_app", APP)
    async with serving_app("trivial_bench_app:app") as server:
        return [
            (await load_rate_per_s(server.url), await httpx_rate_per_s(server.url)) for _ in range(ROUNDS)
        ]


def main() -> None:
    """Print the median and the spread of both, and fail if the ratio is below the promise."""
    rounds = asyncio.run(measure())
    for name, rates in zip(("deskbook.load", "httpx"), zip(*rounds, strict=True), strict=True):
        median, low, high = statistics.median(rates), min(rates), max(rates)
        print(f"{name:14} {median:8.0f} requests/s, median of {ROUNDS} ({low:.0f} to {high:.0f})")
    ratios = [ours / theirs for ours, theirs in rounds]
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"{'ratio':14} {median:8.1f} times, median of {ROUNDS} ({low:.1f} to {high:.1f})")
    if statistics.median(ratios) < AT_LEAST:
        raise SystemExit(f"the load generator must be at least {AT_LEAST:g} times as fast as httpx")


if __name__ == "__main__":
    main()
