"""The routes of the market."""

from __future__ import annotations

from tests.app.routes import Read, Routes

ROUTES: Routes = {
    "GET /v1/instruments": Read("/v1/instruments?limit=2"),
    "GET /v1/instruments/{symbol}": Read("/v1/instruments/AAPL"),
    "GET /v2/instruments/{symbol}/quote": Read("/v2/instruments/AAPL/quote", "private, max-age=1"),
}
