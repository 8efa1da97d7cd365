"""How fast are orders, against a bare FastAPI endpoint? Run with `make bench`, or as a script.

The desk runs with its whole middleware stack, one uvicorn worker, 32 connections. Each round measures the
bare endpoint and then the desk, so that a busy moment of the machine hits both; what counts is the ratio in
the same round. Both are on uvloop. Each connection places the orders of an account of its own, each with a
key of its own: orders of one account wait for each other, which says nothing about the service.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import uuid
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import httpx
from deskbook.load import Workload, load_together
from deskbook.running import PASSWORD, USER
from deskbook.services import fresh_redis
from deskbook.serving import ServedApp, serving_app
from deskbook.serving.modules import write_module

ROUNDS = 5
CONNECTIONS = 32
SECONDS = 3.0
WARM_UP = 200
ORDERS = 10_000

BARE = """
from decimal import Decimal
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()

class Quote(BaseModel):
    symbol: str
    price: Decimal

@app.get("/quote")
async def quote() -> Quote:
    return Quote(symbol="AAPL", price=Decimal("430.47"))
"""

#: What issue "The reference app" promises: requests a second against the bare endpoint.
PROMISED = {"read one order": 0.15, "page of 100 orders": 0.05, "place an order": 0.06}

FILL_ORDERS = """
INSERT INTO orders (owner_id, account_id, instrument_id, symbol, side, type, limit_price, hold_price,
    quantity, filled_quantity, state)
SELECT a.owner_id, a.id, i.id, i.symbol, 'buy', 'limit', 1.2345, 1.24, 10, 0, 'cancelled'
FROM accounts a, instruments i, generate_series(1, $2)
WHERE a.id = $1 AND i.symbol = 'AAPL'
"""


async def prepare(desk: ServedApp) -> tuple[dict[str, str], list[str]]:
    """Sign in, fund an account for each connection, and give one of them orders."""
    async with httpx.AsyncClient(base_url=desk.url, timeout=30) as client:
        form = {"grant_type": "password", "username": USER, "password": PASSWORD}
        token = (await client.post("/v1/tokens", data=form)).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        accounts = []
        for _ in range(CONNECTIONS):
            account = (await client.post("/v1/accounts", json={"name": "Bench"}, headers=headers)).json()[
                "id"
            ]
            deposits = f"/v1/accounts/{account}/deposits"
            reply = await client.post(deposits, json={"amount": "90000000000.00"}, headers=headers)
            assert reply.status_code == 201, reply.text
            accounts.append(account)
    connection = await asyncpg.connect(desk.settings["DATABASE_URL"])
    try:
        await connection.execute(FILL_ORDERS, uuid.UUID(accounts[0]), ORDERS)
        await connection.execute("ANALYZE orders")
    finally:
        await connection.close()
    return headers, accounts


def order_of(account: str, headers: dict[str, str]) -> dict[str, Any]:
    """Return the request that places an order, with another key each time."""
    order = {"type": "limit", "account_id": account, "symbol": "AAPL", "side": "buy", "quantity": 1}
    key = f"{uuid.uuid4()}.{{{{number}}}}"
    return {
        "path": "/v1/orders",
        "method": "POST",
        "headers": {**headers, "Content-Type": "application/json", "Idempotency-Key": key},
        "body": json.dumps(order | {"limit_price": "1.00"}).encode(),
    }


def requests_of(name: str, headers: dict[str, str], accounts: list[str]) -> tuple[list[dict[str, Any]], int]:
    """Return what is sent and the status it must have: one request for all connections, or one for each."""
    if name == "place an order":
        return [order_of(account, headers) for account in accounts], 201
    path = "/v1/orders/1" if name == "read one order" else "/v1/orders?limit=100"
    return [{"path": path, "headers": headers}], 200


async def rate_per_s(url: str, requests: list[dict[str, Any]], status: int) -> float:
    """Return the answers a second, all of which must have this status."""
    results = await load_together(
        *(
            Workload(
                url=url + request["path"],
                clients=CONNECTIONS // len(requests),
                requests=10**6,
                seconds=SECONDS,
                warm_up_requests=WARM_UP // len(requests),
                **{name: value for name, value in request.items() if name != "path"},
            )
            for request in requests
        )
    )
    for result in results:
        assert set(result.statuses) == {status}, result
        assert not result.errors, result
    return sum(result.requests for result in results) / max(result.duration_s for result in results)


async def measure() -> dict[str, list[tuple[float, float]]]:
    """Return (bare, desk) in answers a second for each workload, a pair a round."""
    write_module("bare_bench_app", BARE)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in PROMISED}
    async with fresh_redis() as redis_url, AsyncExitStack() as stack:
        # With Redis, so that rate limits are counted as in production; high ones, to measure no 429.
        settings = {"REDIS_URL": redis_url, "DESK_RATE_LIMIT": "10000000"}
        bare = await stack.enter_async_context(serving_app("bare_bench_app:app"))
        desk = await stack.enter_async_context(serving_app(settings=settings))
        headers, accounts = await prepare(desk)
        for _ in range(ROUNDS):
            reference = await rate_per_s(bare.url, [{"path": "/quote"}], 200)
            for name in PROMISED:
                requests, status = requests_of(name, headers, accounts)
                rates[name].append((reference, await rate_per_s(desk.url, requests, status)))
    return rates


def main() -> None:
    """Print median and spread of each ratio; fail where one is below the promise."""
    too_slow = []
    for name, rounds in asyncio.run(measure()).items():
        ratios = sorted(desk / bare for bare, desk in rounds)
        median = statistics.median(ratios)
        rate = statistics.median(desk for _, desk in rounds)
        print(
            f"{name:20} {median:6.3f} of bare FastAPI, median of {ROUNDS} "
            f"({ratios[0]:.3f} to {ratios[-1]:.3f}), promised {PROMISED[name]:.3f}; {rate:.0f}/s"
        )
        if median < PROMISED[name]:
            too_slow.append(name)
    if too_slow:
        sys.exit(f"below the promise: {', '.join(too_slow)}")


if __name__ == "__main__":
    main()
