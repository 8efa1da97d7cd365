"""The words in which the tests of the app trade: one user of a desk, and what that user does over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import httpx
from deskbook.desk import RunningApp

#: What is placed unless a test says otherwise.
ORDER = {"type": "limit", "symbol": "AAPL", "side": "buy", "quantity": 10, "limit_price": "4.00"}


class Trader:
    """A user of the desk.

    Args:
        desk: The running app.
        headers: Those of another user than the desk's own, from `desk.sign_in`.
    """

    def __init__(self, desk: RunningApp, headers: Mapping[str, str] | None = None) -> None:
        self._client, self._headers = desk.client, dict(headers or {})

    async def get(self, path: str) -> httpx.Response:
        """Read what is at an address."""
        return await self._client.get(path, headers=self._headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send a body to an address."""
        return await self._client.post(path, json=body, headers=self._headers | headers)

    async def put(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Put a body at an address."""
        return await self._client.put(path, json=body, headers=self._headers | headers)

    async def open_account(self, balance: str | None = "1000.00") -> str:
        """Open an account, pay the balance in, and return its id; None leaves it empty."""
        reply = await self.post("/v1/accounts", {"name": "Trading"})
        assert reply.status_code == 201, reply.text
        account: str = reply.json()["id"]
        if balance is not None:
            assert (await self.deposit(account, balance)).status_code == 201
        return account

    async def deposit(self, account: object, amount: object) -> httpx.Response:
        """Pay in."""
        return await self.post(f"/v1/accounts/{account}/deposits", {"amount": amount})

    async def withdraw(self, account: object, amount: object) -> httpx.Response:
        """Take out."""
        return await self.post(f"/v1/accounts/{account}/withdrawals", {"amount": amount})

    async def balance_of(self, account: object) -> str:
        """Return what the account has."""
        return str((await self.get(f"/v1/accounts/{account}")).json()["balance"])

    async def place(self, account: str, *, key: str | None = None, **order: Any) -> httpx.Response:
        """Send an order that differs from `ORDER` where a field is named; None leaves the field out."""
        fields = {"account_id": account, **ORDER, **order}
        body = {name: value for name, value in fields.items() if value is not None}
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return await self.post("/v1/orders", body, **headers)

    async def placed(self, account: str, **order: Any) -> httpx.Response:
        """Place an order that must be accepted, and return it as it is read."""
        return await self.get(await self.new_order(account, **order))

    async def new_order(self, account: str, **order: Any) -> str:
        """Place an order that must be accepted, and return its address."""
        reply = await self.place(account, **order)
        assert reply.status_code == 201, reply.text
        return str(reply.headers["location"])

    async def amend(self, order: httpx.Response | str, **changes: Any) -> httpx.Response:
        """Change the version of an order that was read; at an address, that which is there now."""
        seen = await self.get(order) if isinstance(order, str) else order
        headers = self._headers | {"If-Match": seen.headers["etag"]}
        return await self._client.patch(seen.url.path, json=changes, headers=headers)
