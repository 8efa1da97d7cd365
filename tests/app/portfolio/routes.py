"""The routes of the portfolio."""

from __future__ import annotations

from tests.app.routes import Read, Routes

ROUTES: Routes = {
    "GET /v1/accounts/{account_id}/portfolio": Read(
        "/v1/accounts/{account}/portfolio", "private, no-store", has_etag=False
    ),
}
