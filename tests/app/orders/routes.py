"""The routes of orders."""

from __future__ import annotations

from tests.app.routes import Read, Routes
from tests.app.trader import Trader

ROUTES: Routes = {
    "GET /v1/orders": Read("/v1/orders"),
    "POST /v1/orders": None,
    "GET /v1/orders/{order_id}": Read("{order}", has_date=True),
    "PATCH /v1/orders/{order_id}": None,
    "POST /v1/orders/{order_id}/cancel": None,
}


async def fill(trader: Trader) -> dict[str, str]:
    return {"order": await trader.new_order(await trader.open_account())}
