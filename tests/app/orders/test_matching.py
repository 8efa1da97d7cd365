"""What a matcher does with an order, at prices that the test sets, and while others change it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from deskbook.desk import RunningApp

from reference_app.market.exchange_client import ExchangeQuote
from reference_app.market.problems import QuoteUnavailable
from reference_app.orders import matching
from reference_app.orders.matching import Matching
from reference_app.orders.outbox_relay import STREAM, publisher
from reference_app.patterns.outbox import Relay
from reference_app.patterns.skip_locked_queue import JobQueue
from tests.app.trader import Trader


class Exchange:
    """Stands for the market: bid and ask as the test says; it can be held, to be overtaken."""

    def __init__(self, price: str = "4.00") -> None:
        self.bid = self.ask = Decimal(price)
        self.is_away = False
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def quote(self, symbol: str) -> ExchangeQuote:
        self.asked.set()
        await self.go_on.wait()
        if self.is_away:
            raise QuoteUnavailable
        now = dt.datetime.now(dt.UTC)
        return ExchangeQuote(symbol=symbol, bid=self.bid, ask=self.ask, last=self.bid, as_of=now)


async def match_all(desk: RunningApp, exchange: Exchange, **options: Any) -> None:
    """Work on jobs until none is due; orders that wait are looked at much later."""
    queue = JobQueue(desk.state["sessions"])
    handler = Matching(exchange, look_again_s=3600, **options)  # type: ignore[arg-type]
    while await queue.work_once(handler):
        pass
    assert (queue.failed, queue.lost) == (0, 0)


async def order_at(desk: RunningApp, path: str) -> dict[str, Any]:
    return dict((await desk.client.get(path)).json())


async def state_of(desk: RunningApp, path: str) -> str:
    return str((await order_at(desk, path))["state"])


async def positions(desk: RunningApp) -> list[tuple[int, int]]:
    rows = await desk.sql("SELECT quantity, reserved FROM positions")
    return [(row["quantity"], row["reserved"]) for row in rows]


async def test_a_buy_is_filled_at_the_price_and_the_rest_of_the_cash_comes_back(
    own_desk: RunningApp, invariants: Any
) -> None:
    account = await Trader(own_desk).open_account()
    order = await Trader(own_desk).new_order(account, limit_price="5.00")
    await match_all(own_desk, Exchange("4.1234"))
    body = await order_at(own_desk, order)
    assert (body["state"], body["filled_quantity"]) == ("filled", 10)
    assert await Trader(own_desk).balance_of(account) == "958.77"  # 41.234 rounds to 41.23
    assert await positions(own_desk) == [(10, 0)]
    await invariants(own_desk.database_url)


async def test_a_limit_order_waits_for_its_price(own_desk: RunningApp, invariants: Any) -> None:
    account, exchange = await Trader(own_desk).open_account(), Exchange("4.01")
    order = await Trader(own_desk).new_order(account)
    await match_all(own_desk, exchange)
    assert await state_of(own_desk, order) == "open"
    await invariants(own_desk.database_url)
    exchange.ask = Decimal("4.00")
    await match_all(own_desk, exchange)
    assert await state_of(own_desk, order) == "open", "its next look is an hour away"
    await own_desk.sql("UPDATE queue SET not_before = now()")
    await match_all(own_desk, exchange)
    assert await state_of(own_desk, order) == "filled"
    await invariants(own_desk.database_url)


async def test_an_amended_price_is_looked_at_at_once_and_the_old_job_does_nothing(
    own_desk: RunningApp, invariants: Any
) -> None:
    account, exchange = await Trader(own_desk).open_account(), Exchange("4.50")
    order = await Trader(own_desk).new_order(account)
    await match_all(own_desk, exchange)
    for price in ("4.10", "4.20"):
        etag = (await own_desk.client.get(order)).headers["etag"]
        await own_desk.client.patch(order, json={"limit_price": price}, headers={"If-Match": etag})
    await match_all(own_desk, exchange)
    await own_desk.sql("UPDATE queue SET not_before = now()")
    await match_all(own_desk, exchange)
    jobs = await own_desk.sql("SELECT payload FROM queue")
    assert len(jobs) == 1, "one job for an order that waits, however often it was amended"
    etag = (await own_desk.client.get(order)).headers["etag"]
    await own_desk.client.patch(order, json={"limit_price": "4.50"}, headers={"If-Match": etag})
    await match_all(own_desk, exchange)
    assert await state_of(own_desk, order) == "filled"
    await invariants(own_desk.database_url)


async def test_a_large_order_is_filled_in_steps(
    own_desk: RunningApp, invariants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "SHARES_AT_ONCE", 4)
    account, exchange = await Trader(own_desk).open_account(), Exchange()
    order = await Trader(own_desk).new_order(account)
    queue, handler = JobQueue(own_desk.state["sessions"]), Matching(exchange)  # type: ignore[arg-type]
    seen = []
    while await queue.work_once(handler):
        body = await order_at(own_desk, order)
        seen.append((body["state"], body["filled_quantity"]))
        await invariants(own_desk.database_url)
    assert seen == [("open", 4), ("open", 8), ("filled", 10)]


async def test_a_partly_filled_order_can_be_cancelled_and_keeps_its_shares(
    own_desk: RunningApp, invariants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "SHARES_AT_ONCE", 4)
    account = await Trader(own_desk).open_account()
    order = await Trader(own_desk).new_order(account)
    await JobQueue(own_desk.state["sessions"]).work_once(Matching(Exchange()))  # type: ignore[arg-type]
    too_few = await own_desk.client.patch(
        order, json={"quantity": 4}, headers={"If-Match": (await own_desk.client.get(order)).headers["etag"]}
    )
    assert too_few.json()["type"] == "/problems/quantity-already-filled"
    reply = await own_desk.client.post(f"{order}/cancel")
    assert (reply.json()["state"], reply.json()["filled_quantity"]) == ("cancelled", 4)
    assert await Trader(own_desk).balance_of(account) == "984.00"
    assert await positions(own_desk) == [(4, 0)]
    await match_all(own_desk, Exchange())
    await invariants(own_desk.database_url)


async def test_shares_are_sold_once_and_only_those_that_are_there(
    own_desk: RunningApp, invariants: Any
) -> None:
    account, exchange = await Trader(own_desk).open_account(), Exchange()
    await Trader(own_desk).new_order(account)
    await match_all(own_desk, exchange)
    sale = await Trader(own_desk).new_order(account, side="sell", quantity=7, limit_price="4.50")
    assert await positions(own_desk) == [(10, 7)]
    body = {"account_id": account, "type": "market", "symbol": "AAPL", "side": "sell", "quantity": 4}
    refused = await own_desk.client.post("/v1/orders", json=body, headers={"Idempotency-Key": "more"})
    assert refused.json()["type"] == "/problems/insufficient-position"
    exchange.bid = Decimal("4.60")
    await match_all(own_desk, exchange)
    assert await state_of(own_desk, sale) == "filled"
    assert await positions(own_desk) == [(3, 0)]
    assert await Trader(own_desk).balance_of(account) == "992.20"  # 1000 - 40 + 32.20
    await Trader(own_desk).new_order(account, side="sell", quantity=3, type="market", limit_price=None)
    await match_all(own_desk, exchange)
    assert await positions(own_desk) == [(0, 0)]
    await invariants(own_desk.database_url)


async def test_a_market_order_whose_price_ran_away_is_rejected(own_desk: RunningApp, invariants: Any) -> None:
    account = await Trader(own_desk).open_account("100000.00")
    order = await Trader(own_desk).new_order(account, type="market", limit_price=None)
    await match_all(own_desk, Exchange("99999.00"))
    assert await state_of(own_desk, order) == "rejected"
    assert await Trader(own_desk).balance_of(account) == "100000.00"
    await invariants(own_desk.database_url)


async def test_an_exchange_that_is_away_costs_no_tries_and_no_order(
    own_desk: RunningApp, invariants: Any
) -> None:
    account, exchange = await Trader(own_desk).open_account(), Exchange()
    order = await Trader(own_desk).new_order(account)
    exchange.is_away = True
    for _ in range(7):  # more than the tries that a failing job has
        await match_all(own_desk, exchange)
        await own_desk.sql("UPDATE queue SET not_before = now()")
    await invariants(own_desk.database_url)
    exchange.is_away = False
    await match_all(own_desk, exchange)
    assert await state_of(own_desk, order) == "filled"


async def test_who_cancels_while_the_exchange_is_asked_wins(own_desk: RunningApp, invariants: Any) -> None:
    account, exchange = await Trader(own_desk).open_account(), Exchange()
    order = await Trader(own_desk).new_order(account)
    exchange.go_on.clear()
    matcher = asyncio.create_task(match_all(own_desk, exchange))
    await exchange.asked.wait()
    assert (await own_desk.client.post(f"{order}/cancel")).json()["state"] == "cancelled"
    exchange.go_on.set()
    await matcher
    assert await state_of(own_desk, order) == "cancelled"
    assert await Trader(own_desk).balance_of(account) == "1000.00"
    await invariants(own_desk.database_url)


async def test_two_matchers_with_the_same_order_fill_it_once(own_desk: RunningApp, invariants: Any) -> None:
    """A job that was taken twice, because its first holder was slower than its lease."""
    account, exchange = await Trader(own_desk).open_account(), Exchange()
    order = await Trader(own_desk).new_order(account)
    exchange.go_on.clear()
    first = asyncio.create_task(match_all(own_desk, exchange))
    await exchange.asked.wait()
    await own_desk.sql("UPDATE queue SET not_before = now()")  # its lease is over
    exchange.asked.clear()
    queue = JobQueue(own_desk.state["sessions"])
    second = asyncio.create_task(queue.work_once(Matching(exchange)))  # type: ignore[arg-type]
    await exchange.asked.wait()
    exchange.go_on.set()
    await second
    with pytest.raises(AssertionError):  # it counts the job as lost, and has changed nothing
        await first
    assert await state_of(own_desk, order) == "filled"
    assert len(await own_desk.sql("SELECT FROM fills")) == 1
    await invariants(own_desk.database_url)


async def test_events_reach_the_stream_in_order_and_leave_the_outbox(own_desk: RunningApp) -> None:
    account = await Trader(own_desk).open_account()
    order = await Trader(own_desk).new_order(account)
    await match_all(own_desk, Exchange())
    redis = own_desk.state["redis"]
    assert redis is not None
    relay = Relay(own_desk.state["sessions"], publisher(redis))
    while await relay.run_once():
        pass
    events = [fields for _, fields in await redis.xrange(STREAM)]
    assert [fields[b"topic"] for fields in events] == [b"order.placed", b"order.filled"]
    assert {f"/v1/orders/{json.loads(fields[b'payload'])['order_id']}" for fields in events} == {order}
    assert len({fields[b"event_id"] for fields in events}) == 2
    assert await own_desk.sql("SELECT FROM outbox") == []
