"""Every route that reads: HEAD, Cache-Control, and validators that are never wrong; none may be forgotten."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import format_datetime, parsedate_to_datetime

import httpx
import pytest
from deskbook.desk import RunningApp, running_app

PRIVATE, OPEN, NO_STORE = "private, no-cache", "public, max-age=60", "no-store"
ENTRY = "private, max-age=86400, immutable"


@dataclass(frozen=True)
class Read:
    """What a route that reads says besides its body."""

    url: str
    cache_control: str = PRIVATE
    has_etag: bool = True
    #: Only where the service knows for certain when it changed.
    has_date: bool = False


#: By the path in the OpenAPI document.
READS = {
    "/v1/instruments": Read("/v1/instruments?limit=2"),
    "/v1/instruments/{symbol}": Read("/v1/instruments/AAPL"),
    "/v1/instruments/{symbol}/candles": Read("/v1/instruments/AAPL/candles?limit=2"),
    "/v1/instruments/{symbol}/aggregates/{interval}/{year}": Read(
        "/v1/instruments/AAPL/aggregates/monthly/2012", OPEN
    ),
    "/v1/instruments/{symbol}/quote": Read("/v1/instruments/AAPL/quote"),
    "/v2/instruments/{symbol}/quote": Read("/v2/instruments/AAPL/quote", "private, max-age=1", has_date=True),
    # A stream: its end is not known when its headers are sent.
    "/v1/candles": Read(
        "/v1/candles?symbol=FB&start=2012-05-18&end=2012-05-18", "private, no-store", has_etag=False
    ),
    "/v1/users/me": Read("/v1/users/me"),
    "/v1/accounts": Read("/v1/accounts"),
    "/v1/accounts/{account_id}": Read("/v1/accounts/{account}"),
    "/v1/accounts/{account_id}/entries": Read("/v1/accounts/{account}/entries"),
    "/v1/accounts/{account_id}/entries/{entry_id}": Read("{entry}", ENTRY, has_date=True),
    "/v1/accounts/{account_id}/portfolio": Read(
        "/v1/accounts/{account}/portfolio", "private, no-store", has_etag=False
    ),
    "/v1/orders": Read("/v1/orders"),
    "/v1/orders/{order_id}": Read("{order}", has_date=True),
    "/v1/watchlists": Read("/v1/watchlists"),
    "/v1/watchlists/{watchlist_id}": Read("{watchlist}", has_date=True),
    "/health/live": Read("/health/live", NO_STORE, has_etag=False),
    "/health/ready": Read("/health/ready", NO_STORE, has_etag=False),
    "/problems": Read("/problems"),
    "/problems/{name}": Read("/problems/name-taken"),
}


@dataclass(frozen=True)
class Filled:
    """A desk with one of each, all of it some time ago."""

    desk: RunningApp
    places: dict[str, str]

    def url(self, read: Read) -> str:
        return read.url.format_map(self.places)


@pytest.fixture(scope="module")
async def filled() -> AsyncIterator[Filled]:
    async with running_app() as desk:
        client = desk.client
        account = (await client.post("/v1/accounts", json={"name": "Savings"})).json()["id"]
        deposit = await client.post(f"/v1/accounts/{account}/deposits", json={"amount": "5000.00"})
        order = await place(desk, account)
        watchlist = f"/v1/watchlists/{uuid.uuid4()}"
        await client.put(watchlist, json={"name": "Big ones"})
        for table in ("orders", "watchlists"):
            await desk.sql(f"UPDATE {table} SET updated_at = updated_at - interval '1 hour'")
        places = {"account": account, "entry": deposit.headers["location"], "watchlist": watchlist}
        yield Filled(desk, places | {"order": order.headers["location"]})


async def place(desk: RunningApp, account: str) -> httpx.Response:
    order = {"account_id": account, "symbol": "AAPL", "side": "buy", "quantity": 2}
    order |= {"type": "limit", "limit_price": "1.00"}
    return await desk.client.post("/v1/orders", json=order, headers={"Idempotency-Key": str(uuid.uuid4())})


def test_no_route_that_reads_is_forgotten(filled: Filled) -> None:
    paths = filled.desk.app.openapi()["paths"]
    assert {path for path, methods in paths.items() if "get" in methods} == READS.keys()


@pytest.mark.parametrize("path", READS)
async def test_a_read_says_how_long_it_may_be_kept_and_can_be_asked_for_again_at_no_cost(
    filled: Filled, path: str
) -> None:
    read, client = READS[path], filled.desk.client
    url = filled.url(read)
    reply = await client.get(url)
    assert reply.status_code == 200, reply.text
    assert reply.headers["cache-control"] == read.cache_control
    assert ("etag" in reply.headers) == read.has_etag
    assert ("last-modified" in reply.headers) == read.has_date
    head = await client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "cache-control", "content-type", "link"):
        if path != "/v2/instruments/{symbol}/quote":  # it may be a younger one by now
            assert head.headers.get(name) == reply.headers.get(name)
    if read.has_etag and path != "/v2/instruments/{symbol}/quote":
        again = await client.get(url, headers={"If-None-Match": reply.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["cache-control"] == read.cache_control
        assert again.headers["etag"] == reply.headers["etag"]


@pytest.mark.parametrize("path", [path for path, read in READS.items() if read.has_date])
async def test_a_read_that_knows_when_it_changed_heeds_if_modified_since(filled: Filled, path: str) -> None:
    url, client = filled.url(READS[path]), filled.desk.client
    date = parsedate_to_datetime((await client.get(url)).headers["last-modified"])

    async def since(seconds: int) -> int:
        sent = format_datetime(date + dt.timedelta(seconds=seconds), usegmt=True)
        return (await client.get(url, headers={"If-Modified-Since": sent})).status_code

    assert await since(-1) == 200
    assert await since(60) == 304
    if path != "/v2/instruments/{symbol}/quote":
        assert await since(0) == 304


async def test_a_change_in_the_second_of_another_is_never_taken_for_none(filled: Filled) -> None:
    """Dates have whole seconds: one that is not over must not be given to a client."""
    desk = filled.desk
    for url, change in (
        ((await place(desk, filled.places["account"])).headers["location"], {"quantity": 1}),
        (filled.places["watchlist"], {"note": "new"}),
    ):
        read = await desk.client.get(url)
        changed = await desk.client.patch(url, json=change, headers={"If-Match": read.headers["etag"]})
        assert changed.status_code == 200
        assert "last-modified" not in changed.headers
        assert "last-modified" not in (await desk.client.get(url)).headers
        now = format_datetime(dt.datetime.now(dt.UTC), usegmt=True)
        again = await desk.client.get(url, headers={"If-Modified-Since": now})
        assert (again.status_code, again.json()) == (200, changed.json())
