"""Many clients send the same order with the same key, at once, to two workers: one order for each key."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import httpx
from deskbook.desk.database import PASSWORD, TOKEN_SECRET, USER
from deskbook.load import Workload, load_together
from deskbook.services import fresh_redis
from deskbook.serving import serving_app

KEYS = [f"key-{number}" for number in range(4)]
DUPLICATES = 250  # of each key
CLIENTS = 50  # for each key


async def test_a_thousand_duplicates_at_two_workers_are_one_order_a_key(invariants: Any) -> None:
    limits = {"DESK_RATE_LIMIT": "1000000", "DESK_DATABASE_POOL_TIMEOUT_S": "60"}
    async with (
        fresh_redis() as redis,
        serving_app(
            workers=2, settings=limits | {"REDIS_URL": redis, "DESK_TOKEN_SECRET": TOKEN_SECRET}
        ) as app,
        httpx.AsyncClient(base_url=app.url, timeout=60) as client,
    ):
        form = {"grant_type": "password", "username": USER, "password": PASSWORD}
        token = (await client.post("/v1/tokens", data=form)).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        account = (await client.post("/v1/accounts", json={"name": "Trading"})).json()["id"]
        await client.post(f"/v1/accounts/{account}/deposits", json={"amount": "1000.00"})
        order = {"account_id": account, "type": "limit", "symbol": "AAPL", "side": "buy", "quantity": 10}
        body = json.dumps(order | {"limit_price": "4.00"}).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

        results = await load_together(
            *(
                Workload(
                    url=f"{app.url}/v1/orders",
                    method="POST",
                    headers=headers | {"Idempotency-Key": key},
                    body=body,
                    clients=CLIENTS,
                    requests=DUPLICATES,
                    seconds=60,
                    timeout_s=60,
                )
                for key in KEYS
            )
        )

        connection = await asyncpg.connect(app.settings["DATABASE_URL"])
        stored = [row["id"] for row in await connection.fetch("SELECT id FROM orders ORDER BY id")]
        balance = await connection.fetchval("SELECT balance FROM accounts WHERE id = $1::uuid", account)
        await connection.close()
        for result in results:
            assert result.errors == {}
            assert set(result.statuses) <= {201, 409}, result.statuses  # 409: another one is being answered
            assert sum(result.statuses.values()) == DUPLICATES
            assert result.statuses[201] >= 1
        assert (len(stored), balance) == (len(KEYS), 1000 - 40 * len(KEYS))
        replayed = []
        for key in KEYS:
            reply = await client.post("/v1/orders", content=body, headers=headers | {"Idempotency-Key": key})
            assert (reply.status_code, reply.headers["idempotency-replayed"]) == (201, "true")
            replayed.append(reply.json()["id"])
        assert sorted(replayed) == stored
        await invariants(app.settings["DATABASE_URL"])
