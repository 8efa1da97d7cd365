"""A deprecated route says so in every answer, and names its successor."""

from __future__ import annotations

import datetime as dt
from email.utils import parsedate_to_datetime

import pytest
from deskbook.desk import RunningApp

from reference_app.infra.http.deprecation import deprecated_by

OLD, NEW = "/v1/instruments/IBM/quote", "/v2/instruments/IBM/quote"


async def test_the_old_quote_names_the_new_one_and_when_it_goes(desk: RunningApp) -> None:
    reply = await desk.client.get(OLD)
    assert reply.status_code == 200
    since = dt.datetime.fromtimestamp(int(reply.headers["deprecation"].removeprefix("@")), dt.UTC)
    assert since.isoformat() == "2026-11-22T00:00:00+00:00"
    assert parsedate_to_datetime(reply.headers["sunset"]) > since
    assert reply.headers["sunset"].endswith(" GMT")
    assert reply.links["successor-version"]["url"] == NEW
    assert (await desk.client.get(NEW)).status_code == 200


async def test_the_new_one_is_not_deprecated_and_openapi_knows(desk: RunningApp) -> None:
    reply = await desk.client.get(NEW)
    assert not {"deprecation", "sunset", "link"} & set(reply.headers)
    paths = (await desk.client.get("/openapi.json")).json()["paths"]
    deprecated = [
        path for path, routes in paths.items() if any(it.get("deprecated") for it in routes.values())
    ]
    assert deprecated == ["/v1/instruments/{symbol}/quote"]
    assert "Sunset" in paths[deprecated[0]]["get"]["responses"]["200"]["headers"]
    assert "schema" in paths[deprecated[0]]["get"]["responses"]["200"]["content"]["application/json"]


async def test_what_is_no_symbol_is_refused_and_breaks_no_header(desk: RunningApp) -> None:
    reply = await desk.client.get("/v1/instruments/%C2%B2%0D%F2%81%AC%BF/quote")
    assert reply.status_code == 422


def test_what_goes_before_it_is_deprecated_is_a_mistake() -> None:
    late, soon = dt.datetime(2027, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with pytest.raises(ValueError, match="before"):
        deprecated_by("/v2", since=late, until=soon)
