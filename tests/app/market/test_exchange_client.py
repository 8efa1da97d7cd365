"""The client of the exchange against the simulated one: in this process, and behind a real uvicorn."""

from __future__ import annotations

import asyncio
import csv
import gzip
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import httpx
import pytest
from deskbook.serving import serving_app
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reference_app.data.load import PRICES
from reference_app.market.exchange_client import (
    ExchangeBusy,
    ExchangeClient,
    ExchangeFailed,
    RetryBudget,
    UnknownSymbol,
    retry_after_s,
)
from reference_app.market.exchange_simulator import (
    LAST_CLOSES,
    Behaviour,
    Exchange,
    create_exchange,
    simulated_price,
)
from reference_app.patterns.circuit_breaker import CircuitOpen


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.25

    def __call__(self) -> float:
        return self.now_s


def exchange_with(**behaviour: Any) -> Exchange:
    return Exchange(behaviour=Behaviour(latency_s=0, **behaviour), clock=Clock())


def client_of(exchange: Exchange | None = None, app: Any = None, **options: Any) -> ExchangeClient:
    app = app or create_exchange(exchange)
    return ExchangeClient("http://exchange", **{"timeout_s": 5.0, "connections": 10, "app": app, **options})


def test_prices_walk_around_the_last_real_close_and_are_the_same_everywhere() -> None:
    with gzip.open(PRICES, "rt", newline="") as file:
        assert {row["Ticker"]: row["Close"] for row in csv.DictReader(file)} == LAST_CLOSES
    prices = [simulated_price(1, "AAPL", tick) for tick in range(3_000_000_000, 3_000_002_000)]
    assert prices == [simulated_price(1, "AAPL", tick) for tick in range(3_000_000_000, 3_000_002_000)]
    assert all(Decimal("413") < price < Decimal("448") for price in prices)
    assert len(set(prices)) > 500
    steps = [abs(after - before) for before, after in pairwise(prices)]
    assert max(steps) < Decimal("6")
    assert simulated_price(2, "AAPL", 3_000_000_000) != prices[0]


async def test_a_quote_has_its_digits_and_its_time() -> None:
    async with client_of(exchange_with()) as client:
        quote = await client.quote("GOOG")
    assert (quote.symbol, quote.as_of.isoformat()) == ("GOOG", "1970-01-01T00:16:40+00:00")
    assert quote.bid < quote.last < quote.ask
    assert Decimal("770") < quote.last < Decimal("840")


async def test_a_failing_exchange_is_asked_three_times_and_then_no_more() -> None:
    exchange = exchange_with(error_rate=1)
    async with client_of(exchange) as client:
        with pytest.raises(ExchangeFailed, match="status 500"):
            await client.quote("AAPL")
    assert exchange.requests == 3


async def test_an_error_that_passes_is_not_seen() -> None:
    exchange = exchange_with(error_rate=1)
    simulated = create_exchange(exchange)

    async def every_second_fails(scope: Scope, receive: Receive, send: Send) -> None:
        exchange.behaviour = Behaviour(latency_s=0, error_rate=(exchange.requests + 1) % 2)
        await simulated(scope, receive, send)

    async with client_of(app=every_second_fails) as client:
        quotes = [await client.quote("AAPL") for _ in range(3)]
    assert [quote.symbol for quote in quotes] == ["AAPL"] * 3
    assert (exchange.requests, client.breaker.failures) == (6, 3)


async def test_retries_add_a_fifth_to_the_load_and_not_twice_as_much_again() -> None:
    exchange = exchange_with(error_rate=1)
    async with client_of(exchange) as client:
        client.breaker.min_calls = 10_000  # else it opens first
        client.breaker.window_calls = 10_000
        for _ in range(50):
            with pytest.raises(ExchangeFailed):
                await client.quote("AAPL")
    assert 60 <= exchange.requests <= 50 + 10 + 50 * 0.2


def test_a_budget_saves_up_some_retries_and_no_more() -> None:
    budget = RetryBudget(ratio=0.5, most=2)
    budget.left = 0
    assert not budget.take()
    for _ in range(100):
        budget.earn()
    assert [budget.take() for _ in range(3)] == [True, True, False]


async def test_the_circuit_opens_and_closes_again() -> None:
    clock, exchange = Clock(), exchange_with(error_rate=1)
    async with client_of(exchange, clock=clock) as client:
        while client.breaker.state == "closed":
            with pytest.raises(ExchangeFailed):
                await client.quote("AAPL")
        requests = exchange.requests
        with pytest.raises(CircuitOpen):
            await client.quote("AAPL")
        assert exchange.requests == requests
        exchange.behaviour = Behaviour(latency_s=0)
        clock.now_s += 2
        assert (await client.quote("AAPL")).symbol == "AAPL"
        assert client.breaker.state == "closed"


async def test_nobody_waits_longer_than_the_timeout_for_an_exchange_that_hangs() -> None:
    exchange = exchange_with(is_hanging=True)
    async with client_of(exchange, timeout_s=0.02) as client:
        with pytest.raises(ExchangeFailed, match="TimeoutError"):
            await client.quote("AAPL")
    assert client.breaker.failures == exchange.requests == 3


async def test_after_429_nothing_is_asked_until_the_time_it_named() -> None:
    clock, exchange = Clock(), exchange_with(rate_limit=1)
    async with client_of(exchange, clock=clock) as client:
        client._note_limit = lambda reply: None  # type: ignore[method-assign, assignment]
        await client.quote("AAPL")
        del client._note_limit
        with pytest.raises(ExchangeBusy) as busy:  # the first 429
            await client.quote("AAPL")
        assert busy.value.retry_after_s == 1
        assert exchange.requests == 2
        with pytest.raises(ExchangeBusy):
            await client.quote("MSFT")
        assert exchange.requests == 2
        assert client.breaker.failures == 0  # it answers: that is no outage
        clock.now_s += 1
        exchange.clock.now_s += 1  # type: ignore[attr-defined]
        assert (await client.quote("AAPL")).symbol == "AAPL"


async def test_a_limit_that_is_used_up_is_respected_before_the_first_429() -> None:
    clock, exchange = Clock(), exchange_with(rate_limit=3)
    async with client_of(exchange, clock=clock) as client:
        for _ in range(3):
            await client.quote("AAPL")
        with pytest.raises(ExchangeBusy):
            await client.quote("AAPL")
    assert exchange.requests == 3


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [("7", 7), ("0", 0), ("", 1), ("soon", 1), ("-1", 1), ("Fri, 01 Jan 1999 00:00:00 GMT", 0)],
)
def test_retry_after_is_seconds_or_a_date(value: str, expected_s: float) -> None:
    assert retry_after_s(value, default_s=1) == expected_s


def test_retry_after_as_a_date_to_come() -> None:
    value = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 28 < retry_after_s(value, default_s=1) <= 30


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        b'{"symbol":"AAPL","bid":1.5,"ask":"2","last":"2","as_of":"2026-01-01T00:00:00Z"}',
        b'{"symbol":"MSFT","bid":"1","ask":"2","last":"2","as_of":"2026-01-01T00:00:00Z"}',
        b'{"symbol":"AAPL","bid":"1","ask":"2","last":"2","as_of":"2026-01-01T00:00:00"}',
    ],
)
async def test_an_answer_that_is_no_quote_is_a_failure(body: bytes) -> None:
    async def garbage(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(body, media_type="application/json")(scope, receive, send)

    async with client_of(app=garbage) as client:
        with pytest.raises(ExchangeFailed):
            await client.quote("AAPL")
        assert client.breaker.failures == 3


async def test_a_symbol_that_the_exchange_does_not_trade() -> None:
    async with client_of(exchange_with()) as client:
        with pytest.raises(UnknownSymbol):
            await client.quote("no-symbol")
        assert client.breaker.failures == 0


@pytest.fixture(scope="module")
async def exchange_url() -> AsyncIterator[str]:
    async with serving_app("reference_app.market.exchange_simulator:create_exchange") as server:
        yield server.url


async def switch(url: str, **behaviour: Any) -> int:
    """Switch the exchange over HTTP, and return how many quotes were asked for so far."""
    async with httpx.AsyncClient() as http:
        reply = await http.put(f"{url}/behaviour", json=behaviour)
    assert reply.status_code == 200, reply.text
    return int(reply.json()["requests"])


async def test_over_the_network_connections_are_few_and_are_used_again(exchange_url: str) -> None:
    await switch(exchange_url, latency_s=0.001)
    async with ExchangeClient(exchange_url, timeout_s=5, connections=4) as client:
        await asyncio.gather(*(client.quote("AAPL") for _ in range(40)))
        connections = client._http._transport._pool.connections  # type: ignore[attr-defined]
        assert 1 <= len(connections) <= 4
    assert client.breaker.calls == 40


async def test_over_the_network_an_exchange_that_hangs_or_is_not_there(exchange_url: str) -> None:
    await switch(exchange_url, is_hanging=True)
    async with ExchangeClient(exchange_url, timeout_s=0.1, connections=4) as client:
        with pytest.raises(ExchangeFailed):
            await client.quote("AAPL")
        await switch(exchange_url)
        client._longest_s = client.breaker.timeout_s = 5
        assert (await client.quote("AAPL")).symbol == "AAPL"
    async with ExchangeClient("http://127.0.0.1:1", timeout_s=1, connections=4) as client:
        with pytest.raises(ExchangeFailed, match="ConnectError"):
            await client.quote("AAPL")


async def test_a_behaviour_that_makes_no_sense_is_refused(exchange_url: str) -> None:
    async with httpx.AsyncClient() as http:
        for body in ({"latency": 1}, {"error_rate": 2}, []):
            assert (await http.put(f"{exchange_url}/behaviour", json=body)).status_code == 422
