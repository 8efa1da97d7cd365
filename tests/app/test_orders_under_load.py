"""A mixed load of 32 clients on two workers and two matchers, with one of each killed in the middle of it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from deskbook.running import PASSWORD, TOKEN_SECRET, USER, desk_template
from deskbook.services import fresh_database, fresh_redis
from deskbook.serving import ServedApp, serving_app
from deskbook.serving.companions import companions

CLIENTS = 32
OPERATIONS = 8
PATIENCE_S = 60


@dataclass
class Load:
    """What the clients were told."""

    accepted: dict[str, int] = field(default_factory=dict)  # order by key
    done: int = 0
    half: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self) -> None:
        self.done += 1
        if self.done >= CLIENTS * OPERATIONS // 3:
            self.half.set()


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[tuple[ServedApp, Any]]:
    async with AsyncExitStack() as stack:
        settings = {
            "DATABASE_URL": await stack.enter_async_context(fresh_database(desk_template())),
            "REDIS_URL": await stack.enter_async_context(fresh_redis()),
            "DESK_TOKEN_SECRET": TOKEN_SECRET,
            "DESK_RATE_LIMIT": "1000000",
            "DESK_DATABASE_POOL_TIMEOUT_S": "20",
            "DESK_DATABASE_COMMAND_TIMEOUT_S": "20",
            "DESK_DATABASE_LOCK_TIMEOUT_S": "20",
            "DESK_MATCHER_LEASE_S": "2",
            "DESK_MATCHER_POLL_INTERVAL_S": "0.05",
            "DESK_MATCHER_LOOK_AGAIN_S": "0.5",
            "DESK_DATABASE_POOL_SIZE": "8",
        }
        matcher, relay = "reference_app.orders.matcher", "reference_app.orders.outbox_relay"
        desk = await stack.enter_async_context(serving_app(workers=2, settings=settings))
        processes = stack.enter_context(companions(settings, matcher, matcher, relay, quiet=True))
        yield desk, processes


async def persistent(client: httpx.AsyncClient, method: str, url: str, **options: Any) -> httpx.Response:
    """Send until there is an answer that is none of a fault: what a client does whose answer was lost."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                reply = await client.request(method, url, **options)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
                continue
            if reply.status_code < 500 and reply.json().get("type") != "/problems/request-in-progress":
                return reply
            await asyncio.sleep(0.05)


async def trade(client: httpx.AsyncClient, number: int, load: Load) -> None:
    """Do what a busy trader does, with an account of their own."""
    dice = random.Random(number)
    account = (await persistent(client, "POST", "/v1/accounts", json={"name": f"Client {number}"})).json()[
        "id"
    ]
    deposits = f"/v1/accounts/{account}/deposits"
    assert (await persistent(client, "POST", deposits, json={"amount": "50000.00"})).status_code == 201
    own: list[str] = []
    for _ in range(OPERATIONS):
        choice = dice.random()
        if choice < 0.6 or not own:
            order: dict[str, Any] = {"account_id": account, "symbol": dice.choice(["AAPL", "IBM", "MSFT"])}
            order |= {"side": dice.choice(["buy", "buy", "sell"]), "quantity": dice.randint(1, 20)}
            limit = {"type": "limit", "limit_price": dice.choice(["1.00", "900.00"])}
            order |= dice.choice([{"type": "market"}, limit])
            key = str(uuid.uuid4())
            sent = {"json": order, "headers": {"Idempotency-Key": key}}
            reply = await persistent(client, "POST", "/v1/orders", **sent)
            assert reply.status_code in {201, 409}, reply.text  # 409: no cash, or no shares
            if reply.status_code == 201:
                load.accepted[key] = reply.json()["id"]
                own.append(reply.headers["location"])
                again = await persistent(client, "POST", "/v1/orders", **sent)
                assert again.content == reply.content
        elif choice < 0.75:
            assert (await persistent(client, "POST", f"{dice.choice(own)}/cancel")).status_code in {200, 409}
        elif choice < 0.9:
            path = dice.choice(own)
            etag = (await persistent(client, "GET", path)).headers["etag"]
            body = {"quantity": dice.randint(1, 20)}
            reply = await persistent(client, "PATCH", path, json=body, headers={"If-Match": etag})
            assert reply.status_code in {200, 409, 412}, reply.text
        else:
            assert (await persistent(client, "GET", "/v1/orders?limit=10")).status_code == 200
        load.count()


def kill_one_worker(desk: ServedApp) -> None:
    workers = [
        child for child in psutil.Process(desk.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)


async def settled(url: str) -> None:
    """Return when matchers have looked at every order, and the relay has told every event."""
    connection = await asyncpg.connect(url)
    counts = "SELECT (SELECT count(*) FROM orders WHERE state = 'pending'), (SELECT count(*) FROM outbox)"
    left: Any = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while any(left := tuple(await connection.fetchrow(counts))):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"pending orders and events left after {PATIENCE_S} s: {left}") from None
    finally:
        await connection.close()


async def test_every_invariant_holds_after_a_mixed_load_in_which_a_worker_and_a_matcher_are_killed(
    served: tuple[ServedApp, Any], invariants: Any
) -> None:
    desk, processes = served
    url = desk.settings["DATABASE_URL"]
    load = Load()
    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=desk.url, timeout=30, limits=limits) as client:
        form = {"grant_type": "password", "username": USER, "password": PASSWORD}
        token = (await client.post("/v1/tokens", data=form)).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(trade(client, number, load))
            await load.half.wait()
            kill_one_worker(desk)
            processes[0].kill()
    await invariants(url)
    await settled(url)
    await invariants(url)
    connection = await asyncpg.connect(url)
    try:
        stored = {row["id"] for row in await connection.fetch("SELECT id FROM orders")}
        fills = await connection.fetchval("SELECT count(*) FROM fills")
    finally:
        await connection.close()
    assert stored == set(load.accepted.values())
    assert len(load.accepted) == len(stored) > CLIENTS
    assert fills > 0
