"""The routes of watchlists."""

from __future__ import annotations

import uuid

from tests.app.routes import Read, Routes
from tests.app.trader import Trader

ROUTES: Routes = {
    "GET /v1/watchlists": Read("/v1/watchlists"),
    "GET /v1/watchlists/{watchlist_id}": Read("{watchlist}", has_date=True),
    "PUT /v1/watchlists/{watchlist_id}": None,
    "PATCH /v1/watchlists/{watchlist_id}": None,
    "DELETE /v1/watchlists/{watchlist_id}": None,
}


async def fill(trader: Trader) -> dict[str, str]:
    path = f"/v1/watchlists/{uuid.uuid4()}"
    assert (await trader.put(path, {"name": "Big ones"})).status_code == 201
    return {"watchlist": path}
