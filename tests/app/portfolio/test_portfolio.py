"""What an account is worth: bounded fan-out, missing prices that are said, and no query for each position."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from deskbook.desk import RunningApp
from sqlalchemy import event

from reference_app.market.exchange_client import ExchangeQuote
from reference_app.market.problems import QuoteUnavailable
from reference_app.market.service import MarketService
from reference_app.portfolio.service import QUOTES_AT_ONCE, PortfolioService
from tests.app.trader import Trader

SHARES = """
INSERT INTO positions (account_id, instrument_id, quantity, reserved)
SELECT $1, id, 10, 3 FROM instruments ORDER BY id LIMIT $2
"""


class Exchange:
    """Stands for the quotes of the market: as fast, and as reliable, as the test says."""

    def __init__(self) -> None:
        self.running = self.most_at_once = 0
        self.fails: dict[str, Exception] = {}
        self.hangs: set[str] = set()

    async def quote(self, symbol: str) -> ExchangeQuote:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await asyncio.sleep(0)
            if symbol in self.hangs:
                await asyncio.Event().wait()
            if symbol in self.fails:
                raise self.fails[symbol]
            now, price = dt.datetime.now(dt.UTC), Decimal("1.2345")
            return ExchangeQuote(symbol=symbol, bid=price, ask=price, last=price, as_of=now)
        finally:
            self.running -= 1


async def account_with(desk: RunningApp, positions: int, trader: Trader | None = None) -> str:
    account = await (trader or Trader(desk)).open_account("100.00")
    await desk.sql(SHARES, uuid.UUID(account), positions)
    return account


async def value(desk: RunningApp, account: str, **options: Any) -> dict[str, Any]:
    reply = await desk.client.get(f"/v1/accounts/{account}/portfolio", **options)
    assert reply.status_code == 200, reply.text
    assert reply.headers["cache-control"] == "private, no-store"
    return dict(reply.json())


def with_exchange(desk: RunningApp, exchange: Exchange, deadline_s: float = 30) -> None:
    market = desk.state["services"][MarketService]
    market.quote = exchange.quote  # type: ignore[method-assign]
    service = PortfolioService(desk.state["sessions"], market, deadline_s=deadline_s)
    desk.state["services"].add(service)


async def test_cash_and_positions_make_the_total(own_desk: RunningApp) -> None:
    with_exchange(own_desk, Exchange())
    body = await value(own_desk, await account_with(own_desk, 2))
    assert (body["cash"], body["positions_value"], body["total"]) == ("100.00", "24.68", "124.68")
    assert (body["is_complete"], body["missing"]) == (True, [])
    first = body["positions"][0]
    expected = {"quantity": 10, "reserved": 3, "price": "1.2345", "value": "12.34"}
    assert first == {"symbol": first["symbol"], **expected}


async def test_the_quotes_of_the_simulated_exchange_do(own_desk: RunningApp) -> None:
    body = await value(own_desk, await account_with(own_desk, 5))
    assert body["is_complete"]
    assert Decimal(body["total"]) > 100


async def test_an_empty_account_is_worth_its_cash(own_desk: RunningApp) -> None:
    body = await value(own_desk, await account_with(own_desk, 0))
    assert (body["positions"], body["total"]) == ([], "100.00")


async def test_a_missing_price_is_said_and_not_counted_as_nothing(own_desk: RunningApp) -> None:
    exchange = Exchange()
    exchange.fails["AAPL"] = QuoteUnavailable()
    with_exchange(own_desk, exchange)
    body = await value(own_desk, await account_with(own_desk, 3))
    assert (body["is_complete"], body["missing"], body["total"]) == (False, ["AAPL"], None)
    assert body["positions_value"] == "24.68"
    (apple,) = [position for position in body["positions"] if position["symbol"] == "AAPL"]
    assert (apple["price"], apple["value"], apple["quantity"]) == (None, None, 10)


async def test_a_price_that_does_not_come_is_waited_for_until_the_deadline(own_desk: RunningApp) -> None:
    exchange = Exchange()
    exchange.hangs.add("IBM")
    with_exchange(own_desk, exchange, deadline_s=0.1)
    body = await value(own_desk, await account_with(own_desk, 5))
    assert body["missing"] == ["IBM"]
    assert exchange.running == 0  # what hung was cancelled


async def test_a_fault_of_ours_is_no_missing_price(own_desk: RunningApp) -> None:
    exchange = Exchange()
    exchange.fails["AAPL"] = ZeroDivisionError()
    with_exchange(own_desk, exchange)
    account = await account_with(own_desk, 2)
    assert (await own_desk.client.get(f"/v1/accounts/{account}/portfolio")).status_code == 500


async def test_all_valuations_together_ask_for_ten_quotes_at_once(own_desk: RunningApp) -> None:
    exchange = Exchange()
    with_exchange(own_desk, exchange)
    await own_desk.sql(
        "INSERT INTO instruments (symbol, name) SELECT 'N' || n, 'Number ' || n FROM generate_series(1, 40) n"
    )
    account = await account_with(own_desk, 45)
    bodies = await asyncio.gather(*(value(own_desk, account) for _ in range(5)))
    assert all(body["is_complete"] and len(body["positions"]) == 45 for body in bodies)
    assert exchange.most_at_once == QUOTES_AT_ONCE


@pytest.mark.parametrize("is_cold", [True, False])
async def test_forty_positions_cost_as_many_statements_as_one(own_desk: RunningApp, is_cold: bool) -> None:
    await own_desk.sql(
        "INSERT INTO instruments (symbol, name) SELECT 'N' || n, 'Number ' || n FROM generate_series(1, 40) n"
    )
    few, many = await account_with(own_desk, 1), await account_with(own_desk, 40)
    if not is_cold:
        await value(own_desk, many)
    statements: list[str] = []
    event.listen(
        own_desk.state["engine"].sync_engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *_: statements.append(statement),
    )
    counts = []
    for account in (few, many):
        statements.clear()
        await value(own_desk, account)
        counts.append(len(statements))
    assert counts == [3, 3], statements


async def test_cash_and_shares_are_of_one_moment(own_desk: RunningApp) -> None:
    """A sale between the two reads must not be missing in one and counted in the other."""
    with_exchange(own_desk, Exchange())
    account = await account_with(own_desk, 1)
    sold = False

    def sell(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal sold
        if "FROM positions" in statement and not sold:
            sold = True
            with psycopg.connect(own_desk.database_url) as other:
                other.execute("UPDATE positions SET quantity = 3 WHERE account_id = %s", [account])

    event.listen(own_desk.state["engine"].sync_engine, "before_cursor_execute", sell)
    body = await value(own_desk, account)
    assert sold
    assert body["positions"][0]["quantity"] == 10
    assert (await value(own_desk, account))["positions"][0]["quantity"] == 3


async def test_the_portfolio_of_another_user_does_not_exist(desk: RunningApp) -> None:
    account = (await desk.client.post("/v1/accounts", json={"name": "Mine"})).json()["id"]
    grace = await desk.sign_in("grace")
    for path in (account, str(uuid.uuid4()), "00000000-0000-4000-8000-000000000002"):
        reply = await desk.client.get(f"/v1/accounts/{path}/portfolio", headers=grace)
        assert (reply.status_code, reply.json()["type"]) == (404, "/problems/account-not-found")
