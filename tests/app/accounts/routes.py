"""The routes of the ledger."""

from __future__ import annotations

from tests.app.routes import Read, Routes
from tests.app.trader import Trader

ROUTES: Routes = {
    "GET /v1/accounts": Read("/v1/accounts"),
    "POST /v1/accounts": None,
    "GET /v1/accounts/{account_id}": Read("/v1/accounts/{account}"),
    "POST /v1/accounts/{account_id}/deposits": None,
    "POST /v1/accounts/{account_id}/withdrawals": None,
    "GET /v1/accounts/{account_id}/entries": Read("/v1/accounts/{account}/entries"),
    "GET /v1/accounts/{account_id}/entries/{entry_id}": Read(
        "{entry}", "private, max-age=86400, immutable", has_date=True
    ),
}


async def fill(trader: Trader) -> dict[str, str]:
    account = await trader.open_account(None)
    deposit = await trader.deposit(account, "5000.00")
    return {"account": account, "entry": deposit.headers["location"]}
