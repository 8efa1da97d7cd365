"""One Idempotency-Key, one effect: for every request that makes something or moves money."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import pytest
from deskbook.desk import RunningApp
from deskbook.desk.database import PASSWORD

from reference_app.patterns.idempotency_key import fingerprint
from tests.app.trader import ORDER, Trader

COPIES = 10


async def requests(desk: RunningApp) -> dict[str, tuple[str, dict[str, Any], dict[str, Any], str]]:
    """Return of each request its address, its body, another body, and a query that counts its effects."""
    account = await Trader(desk).open_account("100.00")
    entries = f"SELECT count(*) FROM ledger_entries WHERE account_id = '{account}'"
    name = f"u{uuid.uuid4().hex[:12]}"
    user, other = {"name": name, "password": PASSWORD}, {"name": name, "password": PASSWORD + "!"}
    movement, more = {"amount": "5.00"}, {"amount": "6.00"}
    order = {"account_id": account, **ORDER, "quantity": 1}
    return {
        "deposit": (f"/v1/accounts/{account}/deposits", movement, more, entries),
        "withdrawal": (f"/v1/accounts/{account}/withdrawals", movement, more, entries),
        "account": ("/v1/accounts", {"name": name}, {"name": "B"}, "SELECT count(*) FROM accounts"),
        "user": ("/v1/users", user, other, "SELECT count(*) FROM users"),
        "order": ("/v1/orders", order, {**order, "quantity": 2}, "SELECT count(*) FROM orders"),
    }


@pytest.mark.parametrize("what", ["deposit", "withdrawal", "account", "user", "order"])
async def test_one_key_has_one_effect_however_often_it_is_sent(
    desk: RunningApp, what: str, invariants: Any
) -> None:
    path, body, other_body, effects = (await requests(desk))[what]
    key = f'"{uuid.uuid4()}"'

    async def send(sent: dict[str, Any]) -> Any:
        return await Trader(desk).post(path, sent, **{"Idempotency-Key": key})

    (before,) = await desk.sql(effects)
    replies = await asyncio.gather(*(send(body) for _ in range(COPIES)))
    seen = Counter(reply.status_code for reply in replies)
    assert set(seen) <= {201, 409}, seen  # 409: another copy is being answered
    again = await send(body)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    first = next(reply for reply in replies if reply.status_code == 201)
    assert {reply.content for reply in replies if reply.status_code == 201} == {again.content}
    assert again.headers["location"] == first.headers["location"]
    (after,) = await desk.sql(effects)
    assert after["count"] == before["count"] + 1
    refused = await send(other_body)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/idempotency-key-reused")
    (after,) = await desk.sql(effects)
    assert after["count"] == before["count"] + 1
    await invariants(desk.database_url)


@pytest.mark.parametrize("what", ["deposit", "withdrawal", "account", "user", "order"])
@pytest.mark.parametrize("key", ["", "two words", '""', "a" * 256])
async def test_what_is_no_key_is_refused_and_has_no_effect(desk: RunningApp, what: str, key: str) -> None:
    path, body, _, effects = (await requests(desk))[what]
    before = await desk.sql(effects)
    reply = await Trader(desk).post(path, body, **{"Idempotency-Key": key})
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-idempotency-key")
    assert await desk.sql(effects) == before


async def test_a_key_of_a_refused_withdrawal_can_be_used_again(desk: RunningApp) -> None:
    account = await Trader(desk).open_account("1.00")
    path, key = f"/v1/accounts/{account}/withdrawals", {"Idempotency-Key": str(uuid.uuid4())}
    assert (await Trader(desk).post(path, {"amount": "2.00"}, **key)).status_code == 409
    await Trader(desk).deposit(account, "1.00")
    assert (await Trader(desk).post(path, {"amount": "2.00"}, **key)).status_code == 201
    assert await Trader(desk).balance_of(account) == "0.00"


async def test_the_fingerprint_of_a_password_is_of_no_use_without_the_secret(desk: RunningApp) -> None:
    name, key = f"u{uuid.uuid4().hex[:12]}", str(uuid.uuid4())
    reply = await desk.client.post(
        "/v1/users", json={"name": name, "password": PASSWORD}, headers={"Idempotency-Key": key}
    )
    assert reply.status_code == 201
    (stored,) = await desk.sql("SELECT fingerprint FROM idempotency_keys WHERE key = $1", key)
    assert stored["fingerprint"] != fingerprint("POST", "/v1/users?", reply.request.content)
