"""Every route that reads: HEAD, Cache-Control, and validators that are never wrong; none may be forgotten."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from deskbook.desk import RunningApp, running_app

from reference_app.infra.database.base import Base
from tests.app.routes import Read, all_routes, modules
from tests.app.trader import Trader

#: By the path in the OpenAPI document.
READS = {name.removeprefix("GET "): read for name, read in all_routes().items() if read is not None}


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
        places: dict[str, str] = {}
        for module in modules():
            if hasattr(module, "fill"):
                places |= await module.fill(Trader(desk))
        for table in Base.metadata.sorted_tables:
            if "updated_at" in table.columns:
                await desk.sql(f"UPDATE {table.name} SET updated_at = updated_at - interval '1 hour'")
        yield Filled(desk, places)


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
    assert await since(0) == 304


async def test_a_change_in_the_second_of_another_is_never_taken_for_none(filled: Filled) -> None:
    """Dates have whole seconds: one that is not over must not be given to a client."""
    desk = filled.desk
    for url, change in (
        (await Trader(desk).new_order(filled.places["account"], limit_price="1.00"), {"quantity": 1}),
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
