"""The candles of one instrument over HTTP, on the 12,154 real prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from deskbook.desk import RunningApp


async def all_pages(desk: RunningApp, url: str) -> tuple[list[Any], int]:
    """Follow the Link headers to the end."""
    items: list[Any] = []
    pages = 0
    while True:
        reply = await desk.client.get(url)
        assert reply.status_code == 200, reply.text
        body = reply.json()
        items += body["items"]
        pages += 1
        assert ("next" in reply.links) == (body["next_cursor"] is not None)
        if "next" not in reply.links:
            return items, pages
        url = str(reply.url.join(reply.links["next"]["url"]))


async def test_prices_are_strings_with_every_digit(desk: RunningApp) -> None:
    reply = await desk.client.get("/v1/instruments/AAPL/candles", params={"end": "2000-03-01"})
    assert reply.json()["items"] == [
        {
            "date": "2000-03-01",
            "open": "118.5600",
            "high": "132.0600",
            "low": "118.5000",
            "close": "130.3100",
            "volume": 9616100,
            "adjusted_close": "4.186662803811",
        }
    ]


async def test_a_range_includes_both_its_ends(desk: RunningApp) -> None:
    params = {"start": "2012-05-18", "end": "2012-05-22"}
    items = (await desk.client.get("/v1/instruments/FB/candles", params=params)).json()["items"]
    assert [item["date"] for item in items] == ["2012-05-18", "2012-05-21", "2012-05-22"]


async def test_pages_together_are_the_whole_list_once(desk: RunningApp) -> None:
    items, pages = await all_pages(desk, "/v1/instruments/FB/candles?limit=50")
    rows = await desk.sql("SELECT date::text FROM candles JOIN instruments i ON i.id = instrument_id "
                          "WHERE symbol = 'FB' ORDER BY date")  # fmt: skip
    assert [item["date"] for item in items] == [row["date"] for row in rows]
    assert (len(items), pages) == (196, 4)


async def test_a_page_that_ends_the_list_exactly_has_no_next(desk: RunningApp) -> None:
    assert await all_pages(desk, "/v1/instruments/FB/candles?limit=98") != ([], 0)
    assert (await all_pages(desk, "/v1/instruments/FB/candles?limit=98"))[1] == 2
    assert (await all_pages(desk, "/v1/instruments?limit=1"))[1] == 5


async def test_the_filter_stays_on_the_pages_that_follow(desk: RunningApp) -> None:
    items, _ = await all_pages(desk, "/v1/instruments/AAPL/candles?start=2012-12-01&end=2012-12-31&limit=7")
    assert len(items) == 20
    assert {item["date"][:7] for item in items} == {"2012-12"}


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", ""])
async def test_a_page_is_never_larger_than_the_limit(desk: RunningApp, limit: str) -> None:
    reply = await desk.client.get("/v1/instruments/AAPL/candles", params={"limit": limit})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/limit"


async def test_the_largest_page_is_a_thousand_and_the_default_a_hundred(desk: RunningApp) -> None:
    for params, expected in (({"limit": 1000}, 1000), ({}, 100)):
        reply = await desk.client.get("/v1/instruments/AAPL/candles", params=params)
        assert len(reply.json()["items"]) == expected


@pytest.mark.parametrize(
    "date", ["0", "20120518", "2012-W20-5", "2012-02-30", "18.05.2012", "2012-05-18T00:00"]
)
async def test_dates_are_iso_dates_and_nothing_else(desk: RunningApp, date: str) -> None:
    reply = await desk.client.get("/v1/instruments/AAPL/candles", params={"start": date})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/start"
    assert date not in reply.text.replace("2012-05-18", "")


async def test_a_range_that_ends_before_it_starts_is_an_error_and_not_an_empty_list(desk: RunningApp) -> None:
    params = {"start": "2012-05-19", "end": "2012-05-18"}
    reply = await desk.client.get("/v1/instruments/AAPL/candles", params=params)
    assert reply.status_code == 422
    assert reply.json()["errors"] == [
        {"in": "query", "pointer": "/start", "detail": "start must not be after end"}
    ]


async def test_the_quote_is_the_last_close(desk: RunningApp) -> None:
    quote = (await desk.client.get("/v1/instruments/GOOG/quote")).json()
    assert quote == {"symbol": "GOOG", "price": "806.1900", "as_of": "2013-03-01"}
    assert Decimal(quote["price"]) == Decimal("806.19")


async def test_an_instrument_without_prices_has_no_quote(own_desk: RunningApp) -> None:
    await own_desk.sql("INSERT INTO instruments (symbol, name) VALUES ('NEW', 'New Inc.')")
    reply = await own_desk.client.get("/v1/instruments/NEW/quote")
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/no-quote")
    assert (await own_desk.client.get("/v1/instruments/NEW/candles")).json()["items"] == []
