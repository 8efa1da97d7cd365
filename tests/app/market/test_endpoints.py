"""The routes of instruments find them by symbol, and answer a wrong symbol or cursor with a problem."""

from __future__ import annotations

import pytest
from deskbook.desk import RunningApp


async def test_instruments_come_by_symbol(desk: RunningApp) -> None:
    body = (await desk.client.get("/v1/instruments")).json()
    assert [item["symbol"] for item in body["items"]] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert body["items"][0] == {"symbol": "AAPL", "name": "Apple Inc."}
    assert body["next_cursor"] is None


async def test_one_instrument_is_found_by_its_symbol(desk: RunningApp) -> None:
    reply = await desk.client.get("/v1/instruments/IBM")
    assert reply.json() == {"symbol": "IBM", "name": "International Business Machines Corporation"}


@pytest.mark.parametrize("path", ["", "/candles", "/quote"])
async def test_an_unknown_symbol_is_a_404_that_says_where_to_look(desk: RunningApp, path: str) -> None:
    reply = await desk.client.get(f"/v1/instruments/NONE{path}")
    assert reply.status_code == 404
    assert reply.json()["type"] == "/problems/instrument-not-found"
    assert "GET /v1/instruments" in reply.json()["detail"]


@pytest.mark.parametrize("symbol", ["aapl", "A" * 11, "%00", "A%00B", "1A", "AAPL%0A"])
async def test_what_cannot_be_a_symbol_is_rejected_before_the_database(desk: RunningApp, symbol: str) -> None:
    reply = await desk.client.get(f"/v1/instruments/{symbol}")
    assert reply.status_code == 422, reply.text
    assert reply.json()["errors"][0]["pointer"] == "/symbol"


# A padded date, no base64, "not-a-date", one byte that is no UTF-8, three zero bytes, and a thirteenth month.
@pytest.mark.parametrize(
    "cursor", ["MjAxMi0wMS0wNA==", "!", "bm90LWEtZGF0ZQ", "/w", "AAAA", "MjAxMi0xMy0wMQ"]
)
@pytest.mark.parametrize("path", ["/v1/instruments", "/v1/instruments/AAPL/candles"])
async def test_a_made_up_cursor_is_a_problem(desk: RunningApp, path: str, cursor: str) -> None:
    reply = await desk.client.get(path, params={"cursor": cursor})
    assert reply.status_code == 400
    assert reply.json()["type"] == "/problems/invalid-cursor"
