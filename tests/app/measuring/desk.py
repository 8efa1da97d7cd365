"""The desk as it is measured: the whole middleware stack, a token, a funded account for each connection."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
from deskbook.desk.database import TOKEN_SECRET, USER
from deskbook.services import fresh_redis
from deskbook.serving import ServedApp, serving_app

from reference_app.identity.tokens import Tokens
from reference_app.nouns import OPERATOR_SCOPES, SCOPES

CONNECTIONS = 32
ORDERS = 10_000

#: As a superuser of a database of its own, past triggers and foreign keys: a million orders in seconds.
FILL_ORDERS = """
SET session_replication_role = replica;
INSERT INTO orders (owner_id, account_id, instrument_id, symbol, side, type, limit_price, hold_price,
    quantity, filled_quantity, state)
SELECT a.owner_id, a.id, i.id, i.symbol, 'buy', 'limit', 1.2345, 1.24, 10, 0, 'cancelled'
FROM accounts a, instruments i, generate_series(1, {count})
WHERE a.id = '{account}' AND i.symbol = 'AAPL';
ANALYZE orders;
SET session_replication_role = origin;
"""


@dataclass(frozen=True)
class Desk:
    """The desk while it runs.

    Attributes:
        app: Behind uvicorn.
        headers: With a token that may do everything.
        accounts: One for each connection.
        redis_url: Of its Redis.
    """

    app: ServedApp
    headers: dict[str, str]
    accounts: list[str]
    redis_url: str

    async def execute(self, sql: str, *values: Any) -> str:
        """Run SQL in the desk's database, past the desk."""
        connection = await asyncpg.connect(self.app.settings["DATABASE_URL"])
        try:
            return str(await connection.execute(sql, *values, timeout=300))
        finally:
            await connection.close()

    async def fetchval(self, sql: str) -> Any:
        """Return one value from the desk's database."""
        connection = await asyncpg.connect(self.app.settings["DATABASE_URL"])
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    async def add_orders(self, count: int) -> None:
        """Give the first account so many orders."""
        await self.execute(FILL_ORDERS.format(count=count, account=self.accounts[0]))

    def placing(self) -> list[dict[str, Any]]:
        """Return what places orders: a request for each account, with another key each time.

        Orders of one account wait for each other, which would say nothing about the service.
        """
        kind = {**self.headers, "Content-Type": "application/json"}
        requests = []
        for account in self.accounts:
            order = {"type": "limit", "account_id": account, "symbol": "AAPL", "side": "buy", "quantity": 1}
            headers = {**kind, "Idempotency-Key": f"{uuid.uuid4()}.{{{{number}}}}"}
            body = json.dumps(order | {"limit_price": "1.00"}).encode()
            requests.append({"path": "/v1/orders", "method": "POST", "headers": headers, "body": body})
        return requests


def settings_of(redis_url: str) -> dict[str, str]:
    """Return the settings: with Redis, so that limits are counted; high ones, so that none is met."""
    return {"REDIS_URL": redis_url, "DESK_RATE_LIMIT": "10000000", "DESK_TOKEN_SECRET": TOKEN_SECRET}


#: PostgreSQL's own defaults, in place of the laboratory's, whose data need not survive a power cut.
DURABLE = ("fsync", "full_page_writes", "max_wal_size")


@asynccontextmanager
async def durable_commits(url: str) -> AsyncIterator[None]:
    """Let the server of this database write each commit to disk, as one in production does, for a block.

    Args:
        url: Of any database of the server; its user must be a superuser.
    """
    connection = await asyncpg.connect(url)
    try:
        for name in DURABLE:
            default = await connection.fetchval(
                "SELECT concat(boot_val, unit) FROM pg_settings WHERE name = $1", name
            )
            await connection.execute(f"ALTER SYSTEM SET {name} = '{default}'")
        await _reload(connection)
        yield
    finally:
        for name in DURABLE:
            await connection.execute(f"ALTER SYSTEM RESET {name}")
        await _reload(connection)
        await connection.close()


async def _reload(connection: asyncpg.Connection) -> None:
    """Let the settings of the file count, in this connection too."""
    loaded = "SELECT pg_conf_load_time()"
    before = await connection.fetchval(loaded)
    await connection.execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(10):
        while await connection.fetchval(loaded) == before:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running_desk(workers: int = 1, beside: Desk | None = None) -> AsyncIterator[Desk]:
    """Serve the desk, on a database of its own or on that of another one."""
    if beside is not None:
        settings = settings_of(beside.redis_url) | {"DATABASE_URL": beside.app.settings["DATABASE_URL"]}
        async with serving_app(settings=settings, workers=workers) as app:
            yield Desk(app, beside.headers, beside.accounts, beside.redis_url)
        return
    async with fresh_redis() as redis, serving_app(settings=settings_of(redis), workers=workers) as app:
        connection = await asyncpg.connect(app.settings["DATABASE_URL"])
        user_id = await connection.fetchval("SELECT id FROM users WHERE name = $1", USER)
        await connection.close()
        token = Tokens(TOKEN_SECRET, ttl_s=86_400).issue(user_id, {**SCOPES, **OPERATOR_SCOPES})
        headers = {"Authorization": f"Bearer {token}"}
        accounts = await _funded_accounts(app, headers)
        yield Desk(app, headers, accounts, redis)


async def _funded_accounts(app: ServedApp, headers: dict[str, str]) -> list[str]:
    accounts = []
    async with httpx.AsyncClient(base_url=app.url, timeout=30, headers=headers) as client:
        for _ in range(CONNECTIONS):
            account = (await client.post("/v1/accounts", json={"name": "Bench"})).json()["id"]
            deposits = f"/v1/accounts/{account}/deposits"
            reply = await client.post(deposits, json={"amount": "90000000000.00"})
            if reply.status_code != 201:
                raise SystemExit(f"no deposit: {reply.status_code} {reply.text}")
            accounts.append(account)
    return accounts
