"""HEAD answers wherever GET does."""

from __future__ import annotations

import pytest
from deskbook.running import RunningApp


@pytest.mark.parametrize(
    "path",
    [
        "/v1/instruments?limit=2",
        "/v1/instruments/AAPL",
        "/v1/instruments/AAPL/candles?limit=3",
        "/v1/instruments/AAPL/quote",
        "/v1/instruments/NONE",
        "/health/live",
        "/health/ready",
        "/docs",
        "/docs/assets/swagger-ui.css",
        "/openapi.json",
        "/nowhere",
    ],
)
async def test_head_has_the_status_and_headers_of_get_and_no_body(desk: RunningApp, path: str) -> None:
    get, head = await desk.client.get(path), await desk.client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers == get.headers
    assert int(get.headers["content-length"]) == len(get.content) > 0
