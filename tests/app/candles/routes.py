"""The routes of candles."""

from __future__ import annotations

from tests.app.routes import Read, Routes

ROUTES: Routes = {
    "GET /v1/instruments/{symbol}/candles": Read("/v1/instruments/AAPL/candles?limit=2"),
    "GET /v1/instruments/{symbol}/aggregates/{interval}/{year}": Read(
        "/v1/instruments/AAPL/aggregates/monthly/2012", "public, max-age=60"
    ),
    "GET /v1/instruments/{symbol}/quote": Read("/v1/instruments/AAPL/quote"),
    # A stream: its end is not known when its headers are sent.
    "GET /v1/candles": Read(
        "/v1/candles?symbol=FB&start=2012-05-18&end=2012-05-18", "private, no-store", has_etag=False
    ),
    "POST /v1/candles": None,
}
