"""Orders over HTTP: placed once, read by their owner, amended by version, cancelled."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from typing import Any

import pytest
from deskbook.desk import RunningApp
from sqlalchemy import text

from reference_app.market.problems import QuoteUnavailable
from reference_app.market.service import MarketService
from reference_app.orders.states import TRANSITIONS, ImpossibleTransition, OrderState, step
from tests.app.trader import Trader


async def test_an_order_is_accepted_and_its_cash_is_held(own_desk: RunningApp, invariants: Any) -> None:
    account = await Trader(own_desk).open_account("100.00")
    reply = await Trader(own_desk).place(account, quantity=10, limit_price="4.0001")
    assert reply.status_code == 201, reply.text
    body = reply.json()
    assert (body["state"], body["quantity"], body["filled_quantity"]) == ("pending", 10, 0)
    assert (body["limit_price"], body["version"]) == ("4.0001", 1)
    assert await Trader(own_desk).balance_of(account) == "59.90"  # 4.01 a share: rounded up to cents
    assert reply.headers["cache-control"] == "private, no-cache"
    read = await own_desk.client.get(reply.headers["location"])
    assert (read.json(), read.headers["etag"]) == (body, reply.headers["etag"])
    assert len(await own_desk.sql("SELECT FROM outbox WHERE topic = 'order.placed'")) == 1
    await invariants(own_desk.database_url)


async def test_its_job_and_its_event_are_what_the_service_writes_elsewhere(own_desk: RunningApp) -> None:
    account = await Trader(own_desk).open_account()
    order = await Trader(own_desk).placed(account)
    await Trader(own_desk).amend(order, quantity=5)  # which puts a job and tells an event in Python
    jobs = [row["payload"] for row in await own_desk.sql("SELECT payload FROM queue ORDER BY id")]
    id_ = order.json()["id"]
    assert jobs == [f"{id_} AAPL 1", f"{id_} AAPL 2"]
    events = await own_desk.sql("SELECT key, topic, payload FROM outbox ORDER BY id")
    assert [(row["key"], row["topic"]) for row in events] == [
        (f"order {id_}", "order.placed"),
        (f"order {id_}", "order.amended"),
    ]
    first, second = (json.loads(row["payload"]) for row in events)
    assert first == second | {"version": 1}


async def test_the_same_key_is_the_same_order(own_desk: RunningApp, invariants: Any) -> None:
    account = await Trader(own_desk).open_account()
    first, second = [await Trader(own_desk).place(account, key="one") for _ in range(2)]
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert len(await own_desk.sql("SELECT FROM orders")) == 1
    await invariants(own_desk.database_url)


async def test_a_key_belongs_to_its_request_and_its_user(desk: RunningApp) -> None:
    key = str(uuid.uuid4())
    assert (await Trader(desk).place(await Trader(desk).open_account(), key=key)).status_code == 201
    other = await Trader(desk).place(await Trader(desk).open_account(), key=key)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    grace = await desk.sign_in("grace")
    account = await Trader(desk, grace).open_account()
    assert (await Trader(desk, grace).place(account, key=key)).status_code == 201


@pytest.mark.parametrize("key", [None, "", "two words", "a" * 256])
async def test_without_a_usable_key_nothing_is_placed(desk: RunningApp, key: str | None) -> None:
    account = await Trader(desk).open_account()
    body = {"account_id": account, "type": "market", "symbol": "AAPL", "side": "buy", "quantity": 1}
    headers = {} if key is None else {"Idempotency-Key": key}
    reply = await desk.client.post("/v1/orders", json=body, headers=headers)
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-idempotency-key")
    assert await Trader(desk).balance_of(account) == "1000.00"


async def test_a_refused_order_leaves_its_key_unused(own_desk: RunningApp, invariants: Any) -> None:
    account = await Trader(own_desk).open_account("39.99")
    refused = await Trader(own_desk).place(account, key="poor")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/insufficient-funds")
    for table in ("orders", "queue", "outbox", "idempotency_keys"):
        assert await own_desk.sql(f"SELECT FROM {table}") == [], table
    await own_desk.client.post(f"/v1/accounts/{account}/deposits", json={"amount": "0.01"})
    assert (await Trader(own_desk).place(account, key="poor")).status_code == 201
    assert await Trader(own_desk).balance_of(account) == "0.00"
    await invariants(own_desk.database_url)


async def test_a_replay_does_not_need_the_market_of_today(own_desk: RunningApp) -> None:
    account = await Trader(own_desk).open_account("100000.00")
    first = await Trader(own_desk).place(account, key="once", type="market", limit_price=None)
    assert first.status_code == 201, first.text

    async def away(symbol: str) -> None:
        raise QuoteUnavailable

    own_desk.state["services"][MarketService].quote = away  # type: ignore[method-assign, assignment]
    again = await Trader(own_desk).place(account, key="once", type="market", limit_price=None)
    assert (again.status_code, again.content) == (201, first.content)
    new = await Trader(own_desk).place(account, key="new", type="market", limit_price=None)
    assert (new.status_code, new.json()["type"]) == (503, "/problems/quote-unavailable")


@pytest.mark.parametrize(
    ("changes", "status", "type_"),
    [
        ({"quantity": 0}, 422, "invalid-request"),
        ({"quantity": 1_000_001}, 422, "invalid-request"),
        ({"quantity": "10"}, 422, "invalid-request"),
        ({"quantity": True}, 422, "invalid-request"),
        ({"limit_price": "0"}, 422, "invalid-request"),
        ({"limit_price": 4.0}, 422, "invalid-request"),
        ({"limit_price": "4.00001"}, 422, "invalid-request"),
        ({"limit_price": None}, 422, "invalid-request"),
        ({"type": "market"}, 422, "invalid-request"),  # with a limit price
        ({"type": "stop"}, 422, "invalid-request"),
        ({"side": "short"}, 422, "invalid-request"),
        ({"symbol": "aapl"}, 422, "invalid-request"),
        ({"symbol": "NONE"}, 404, "instrument-not-found"),
        ({"side": "sell"}, 409, "insufficient-position"),
        ({"limit_price": "99999999999999", "quantity": 1_000_000}, 409, "insufficient-funds"),
    ],
)
async def test_what_is_no_order_is_refused(
    desk: RunningApp, changes: dict[str, Any], status: int, type_: str
) -> None:
    account = await Trader(desk).open_account()
    reply = await Trader(desk).place(account, **changes)
    assert (reply.status_code, reply.json()["type"]) == (status, f"/problems/{type_}")
    assert await Trader(desk).balance_of(account) == "1000.00"


async def test_an_order_from_an_account_of_somebody_else_or_of_the_desk_itself(desk: RunningApp) -> None:
    own, grace = await Trader(desk).open_account(), await desk.sign_in("grace")
    strangers = [own, str(uuid.uuid4()), *(f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))]
    for account in strangers:
        bought = await Trader(desk, grace).place(account)
        assert (bought.status_code, bought.json()["type"]) == (404, "/problems/account-not-found")
        sold = await Trader(desk, grace).place(account, side="sell")
        assert sold.status_code == 409  # no shares there, or not hers: the same answer
    assert await Trader(desk).balance_of(own) == "1000.00"


async def test_an_order_of_another_user_does_not_exist(desk: RunningApp) -> None:
    order = await Trader(desk).placed(await Trader(desk).open_account())
    grace = await desk.sign_in("grace")
    path = order.url.path
    replies = [
        await desk.client.get(path, headers=grace),
        await desk.client.patch(path, json={"quantity": 1}, headers={**grace, "If-Match": "*"}),
        await desk.client.post(f"{path}/cancel", headers=grace),
    ]
    assert {(reply.status_code, reply.json()["type"]) for reply in replies} == {
        (404, "/problems/order-not-found")
    }
    listed = (await desk.client.get("/v1/orders", headers=grace)).json()["items"]
    assert order.json()["id"] not in [item["id"] for item in listed]


async def test_a_client_that_has_the_order_gets_304(desk: RunningApp) -> None:
    order = await Trader(desk).placed(await Trader(desk).open_account())
    headers = {"If-None-Match": order.headers["etag"]}
    unchanged = await desk.client.get(order.url.path, headers=headers)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == order.headers["etag"]
    await Trader(desk).amend(order, quantity=5)
    assert (await desk.client.get(order.url.path, headers=headers)).status_code == 200


async def test_amending_needs_the_version_that_was_seen(own_desk: RunningApp, invariants: Any) -> None:
    account = await Trader(own_desk).open_account("100.00")
    order = await Trader(own_desk).placed(account)
    blind = await own_desk.client.patch(order.url.path, json={"quantity": 5})
    assert blind.status_code == 428
    more = await Trader(own_desk).amend(order, quantity=20, limit_price="4.50")
    assert (more.status_code, more.json()["quantity"], more.json()["limit_price"]) == (200, 20, "4.5000")
    assert more.json()["version"] == 2
    assert await Trader(own_desk).balance_of(account) == "10.00"
    stale = await Trader(own_desk).amend(order, quantity=7)
    assert stale.status_code == 412
    too_much = await Trader(own_desk).amend(more, quantity=30)
    assert too_much.json()["type"] == "/problems/insufficient-funds"
    less = await Trader(own_desk).amend(more, quantity=1)
    assert less.json()["version"] == 3
    assert await Trader(own_desk).balance_of(account) == "95.50"
    await invariants(own_desk.database_url)


async def test_of_ten_who_amend_the_same_version_one_wins(own_desk: RunningApp, invariants: Any) -> None:
    order = await Trader(own_desk).placed(await Trader(own_desk).open_account())
    replies = await asyncio.gather(*(Trader(own_desk).amend(order, quantity=11 + n) for n in range(10)))
    assert Counter(reply.status_code for reply in replies) == {200: 1, 412: 9}
    await invariants(own_desk.database_url)


@pytest.mark.parametrize(
    "body",
    [{}, {"quantity": None}, {"limit_price": None}, {"state": "filled"}, {"quantity": 0}, {"quantity": 5.5}],
)
async def test_an_amendment_that_says_nothing_or_nonsense(desk: RunningApp, body: dict[str, Any]) -> None:
    order = await Trader(desk).placed(await Trader(desk).open_account())
    reply = await Trader(desk).amend(order, **body)
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/invalid-request")


async def test_a_market_order_has_no_limit_price_to_change(desk: RunningApp) -> None:
    order = await Trader(desk).placed(
        await Trader(desk).open_account("100000.00"), type="market", limit_price=None
    )
    assert (await Trader(desk).amend(order, limit_price="5.00")).json()["type"] == "/problems/no-limit-price"


async def test_cancelling_gives_the_cash_back_once(own_desk: RunningApp, invariants: Any) -> None:
    account = await Trader(own_desk).open_account("100.00")
    order = await Trader(own_desk).placed(account)
    replies = await asyncio.gather(*(own_desk.client.post(f"{order.url.path}/cancel") for _ in range(5)))
    assert {(reply.status_code, reply.json()["state"]) for reply in replies} == {(200, "cancelled")}
    assert await Trader(own_desk).balance_of(account) == "100.00"
    stale = await own_desk.client.get(order.url.path)
    final = await Trader(own_desk).amend(stale, quantity=5)
    assert (final.status_code, final.json()["type"]) == (409, "/problems/order-is-final")
    await invariants(own_desk.database_url)


async def test_cancelling_heeds_if_match(desk: RunningApp) -> None:
    order = await Trader(desk).placed(await Trader(desk).open_account())
    await Trader(desk).amend(order, quantity=5)
    headers = {"If-Match": order.headers["etag"]}
    assert (await desk.client.post(f"{order.url.path}/cancel", headers=headers)).status_code == 412
    assert (await desk.client.get(order.url.path)).json()["state"] == "pending"


async def test_pages_are_newest_first_and_lose_nothing_while_orders_arrive(own_desk: RunningApp) -> None:
    account = await Trader(own_desk).open_account()
    numbers = [(await Trader(own_desk).place(account)).json()["id"] for _ in range(5)]
    seen: list[int] = []
    url: str | None = "/v1/orders?limit=2"
    while url is not None:
        reply = await own_desk.client.get(url)
        seen += [item["id"] for item in reply.json()["items"]]
        await Trader(own_desk).place(account)  # it comes before the first page, and moves nothing
        following = reply.links.get("next")
        url = following and f"/v1/orders{following['url']}"
        assert reply.links["first"]["url"] == "?limit=2"
    assert seen == numbers[::-1]


async def test_a_cursor_of_another_list_is_refused(desk: RunningApp) -> None:
    account = await Trader(desk).open_account()
    for _ in range(2):
        await desk.client.post(f"/v1/accounts/{account}/deposits", json={"amount": "1.00"})
    entries = await desk.client.get(f"/v1/accounts/{account}/entries?limit=1")
    reply = await desk.client.get("/v1/orders", params={"cursor": entries.json()["next_cursor"]})
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-cursor")


def test_the_machine_of_states_has_no_way_out_of_its_ends() -> None:
    assert step("pending", OrderState.OPEN) is OrderState.OPEN
    for final in (OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED):
        assert TRANSITIONS[final] == frozenset()
        for following in OrderState:
            with pytest.raises(ImpossibleTransition, match=f"{final} cannot become"):
                step(final, following)
    with pytest.raises(ImpossibleTransition):
        step(OrderState.OPEN, OrderState.REJECTED)


@pytest.mark.parametrize("state", ["cancelled", "rejected"])
async def test_the_database_holds_the_ends_too(own_desk: RunningApp, state: str) -> None:
    import asyncpg

    order = await Trader(own_desk).placed(await Trader(own_desk).open_account())
    await own_desk.sql("UPDATE orders SET state = $1 WHERE id = $2", state, order.json()["id"])
    with pytest.raises(asyncpg.RestrictViolationError, match="which is final"):
        await own_desk.sql("UPDATE orders SET state = 'open' WHERE id = $1", order.json()["id"])


async def test_an_amended_price_that_no_balance_covers_is_refused_as_when_placed(desk: RunningApp) -> None:
    account = await Trader(desk).open_account("100.00")
    order = await Trader(desk).new_order(account, limit_price="1.00", quantity=1)
    for price in ("99999999999999.99", "99999999999999.9900", "99999999999999.9901", "99999999999999.9999"):
        amended = await desk.client.patch(order, json={"limit_price": price}, headers={"If-Match": "*"})
        placed = await Trader(desk).place(account, limit_price=price, quantity=1)
        for reply in (amended, placed):
            assert (reply.status_code, reply.json()["type"]) == (409, "/problems/insufficient-funds"), price
    assert (await desk.client.get(order)).json()["limit_price"] == "1.0000"


async def test_nobody_waits_for_the_order_of_another_user(desk: RunningApp) -> None:
    order = await Trader(desk).new_order(await Trader(desk).open_account())
    number = int(order.rsplit("/", 1)[1])
    headers = await desk.sign_in("grace")
    async with desk.state["sessions"].begin() as session:
        await session.execute(text("SELECT FROM orders WHERE id = :id FOR UPDATE"), {"id": number})
        async with asyncio.timeout(1.5):  # whoever asks for the lock waits for two seconds
            reply = await Trader(desk, headers).post(f"{order}/cancel")
    assert reply.status_code == 404
