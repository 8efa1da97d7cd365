"""Quotes of the exchange over HTTP: one call for many, a young one while it is away, and 503 at last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from deskbook.desk import RunningApp
from deskbook.desk.database import TOKEN_SECRET
from starlette.types import ASGIApp, Receive, Scope, Send

from reference_app.app import create_app
from reference_app.market.exchange_simulator import Behaviour, Exchange, create_exchange
from reference_app.market.service import MarketService
from reference_app.settings import load_settings

URL = "/v2/instruments/AAPL/quote"


@asynccontextmanager
async def desk_with(
    own_desk: RunningApp, exchange: ASGIApp, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    """Give a client of a second app on the same database, whose exchange the test holds in its hand."""
    overrides = {"database_url": own_desk.database_url, "token_secret": TOKEN_SECRET}
    app = create_app(load_settings(**overrides, **settings), exchange)
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://desk", headers=own_desk.client.headers
        ) as client:
            yield client, manager._state


async def until(condition: Callable[[], bool]) -> None:
    """Let the tasks of this loop run until it is so."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - plain counters of the app
            await asyncio.sleep(0)


async def test_the_quote_says_when_it_was_made_and_that_it_is_simulated(desk: RunningApp) -> None:
    reply = await desk.client.get(URL)
    assert reply.status_code == 200, reply.text
    quote = reply.json()
    assert sorted(quote) == ["as_of", "ask", "bid", "last", "source", "symbol"]
    assert (quote["symbol"], quote["source"]) == ("AAPL", "simulated")
    assert [len(quote[name].split(".")[1]) for name in ("bid", "ask", "last")] == [4, 4, 4]
    assert reply.headers["cache-control"] == "private, max-age=1"


async def test_quotes_are_for_users(desk: RunningApp) -> None:
    reply = await desk.client.get(URL, headers={"Authorization": ""})
    assert (reply.status_code, reply.json()["type"]) == (401, "/problems/not-authenticated")
    assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_who_has_the_quote_already_gets_304_and_no_body(own_desk: RunningApp) -> None:
    exchange = Exchange(behaviour=Behaviour(latency_s=0), clock=lambda: 1_000.0)
    async with desk_with(own_desk, create_exchange(exchange)) as (client, _):
        first = await client.get(URL)
        again = await client.get(URL, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"] == first.headers["cache-control"]
        head = await client.head(URL)
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", first.headers["etag"])


async def test_a_date_is_never_taken_for_the_version_of_a_quote(own_desk: RunningApp) -> None:
    """Two quotes are of one second, and HTTP's dates are whole: 304 would be for another one."""
    now_s = [1_000.1]
    exchange = Exchange(behaviour=Behaviour(latency_s=0), clock=lambda: now_s[0])
    async with desk_with(own_desk, create_exchange(exchange), quote_fresh_s=0.01) as (client, _):
        first = await client.get(URL)
        now_s[0] += 0.6
        async with asyncio.timeout(30):
            while (later := await client.get(URL)).headers["etag"] == first.headers["etag"]:
                pass
        dates = [first.headers.get("last-modified"), "Thu, 01 Jan 1970 00:16:40 GMT"]
        for date in filter(None, dates):
            reply = await client.get(URL, headers={"If-Modified-Since": date})
            assert (reply.status_code, reply.json()["as_of"]) == (200, later.json()["as_of"])


async def test_a_symbol_that_is_no_instrument_is_never_asked_for(own_desk: RunningApp) -> None:
    exchange = Exchange()
    async with desk_with(own_desk, create_exchange(exchange)) as (client, _):
        assert (await client.get("/v2/instruments/NONE/quote")).status_code == 404
    assert exchange.requests == 0


async def test_a_hundred_who_ask_at_once_are_one_call(own_desk: RunningApp) -> None:
    gate, exchange = asyncio.Event(), Exchange(behaviour=Behaviour(latency_s=0))
    simulated = create_exchange(exchange)

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await simulated(scope, receive, send)

    async with desk_with(own_desk, held, quote_fresh_s=60, exchange_timeout_s=60) as (client, state):
        tasks = [asyncio.create_task(client.get(URL)) for _ in range(100)]
        quotes = state["services"][MarketService]._quotes
        await until(lambda: quotes.misses >= 100)
        gate.set()
        replies = await asyncio.gather(*tasks)
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1
    assert exchange.requests == 1


async def test_while_the_exchange_is_away_the_last_quote_stands_in_and_then_it_is_503(
    own_desk: RunningApp,
) -> None:
    now = [0.0]
    exchange = Exchange(behaviour=Behaviour(latency_s=0))
    async with desk_with(own_desk, create_exchange(exchange)) as (client, state):
        quotes = state["services"][MarketService]._quotes
        quotes.clock = lambda: now[0]
        first = await client.get(URL)
        exchange.behaviour = Behaviour(latency_s=0, error_rate=1)
        now[0] = 5.0
        assert (await client.get(URL)).content == first.content
        await until(lambda: not quotes._tasks)
        assert quotes.failures == 1
        now[0] = 30.9
        assert (await client.get(URL)).content == first.content
        now[0] = 31.0
        reply = await client.get(URL)
        assert (reply.status_code, reply.json()["type"]) == (503, "/problems/quote-unavailable")
        assert int(reply.headers["retry-after"]) >= 1
        exchange.behaviour = Behaviour(latency_s=0)
        await until(lambda: not quotes._tasks)
        now[0] = 60.0
        assert (await client.get(URL)).status_code == 200


async def test_nothing_of_the_quotes_is_left_when_the_app_ends(own_desk: RunningApp) -> None:
    before = asyncio.all_tasks()
    exchange = Exchange(behaviour=Behaviour(is_hanging=True))
    async with desk_with(own_desk, create_exchange(exchange), exchange_timeout_s=60) as (client, _):
        asking = asyncio.create_task(client.get(URL))
        await until(lambda: exchange.requests > 0)
        asking.cancel()  # its client has gone, and what it began goes on
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert asyncio.all_tasks() == before
