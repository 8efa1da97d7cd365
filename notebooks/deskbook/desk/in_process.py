"""The reference app in this process: no port, no second process, a real database that is gone afterwards.

async with running_app() as desk:
reply = await desk.client.get("/v1/instruments/AAPL/quote")
rows = await desk.sql("SELECT count(*) FROM candles")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from deskbook.authoring.app_watch import AppWatch
from deskbook.desk.database import PASSWORD, SQL_TIMEOUT_S, TOKEN_SECRET, USER, desk_template, token_header
from deskbook.services import fresh_database, fresh_redis
from reference_app.app import create_app
from reference_app.identity.service import IdentityService
from reference_app.infra.http.state import AppState
from reference_app.nouns import SCOPES
from reference_app.settings import load_settings

REQUEST_TIMEOUT_S = 10.0
LIFESPAN_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class RunningApp:
    """The app while it runs.

    Attributes:
        app: The FastAPI app.
        client: Talks to it as the user ada, who is in every database of the desk; a request that takes
            longer than 10 s raises `httpx.ReadTimeout`.
        database_url: Address of the database, which no other block sees.
        state: What the lifespan made: `state["engine"]`, `state["sessions"]`, `state["settings"]`,
            `state["services"][MarketService]`.
    """

    app: FastAPI
    client: httpx.AsyncClient
    database_url: str
    state: AppState

    async def sign_in(self, name: str, *, scopes: Iterable[str] | None = None) -> dict[str, str]:
        """Return the header that makes a request one of this user, who is registered if need be.

        Args:
            name: Name of the user, such as "grace".
            scopes: What the token may be used for; None means everything that users may.
        """
        identity = self.state["services"][IdentityService]
        found = await self.sql("SELECT id FROM users WHERE name = $1", name)
        if not found:
            found = [{"id": (await identity.register(name, PASSWORD)).id}]
        return token_header(identity.tokens, found[0]["id"], SCOPES if scopes is None else scopes)

    async def sql(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """Run a statement on a connection of its own, outside the pool and the transactions of the app.

        Args:
            query: One statement, with `$1`, `$2` for the arguments.
            args: Values of the arguments.

        Returns:
            The rows, each as a dictionary.
        """
        connection = await asyncpg.connect(
            self.database_url, timeout=SQL_TIMEOUT_S, command_timeout=SQL_TIMEOUT_S
        )
        try:
            return [dict(row) for row in await connection.fetch(query, *args)]
        finally:
            await connection.close(timeout=SQL_TIMEOUT_S)


@asynccontextmanager
async def running_app(**overrides: Any) -> AsyncIterator[RunningApp]:
    """Run the reference app for the length of the block.

    A cell fails when the app fails behind a good reply, as a background task does: the client sees nothing
    of it.

    Args:
        overrides: Settings by field name, such as `database_pool_size=2`.

    Raises:
        ServicesError: There is no database server; the message says what to do.
        SettingsError: An override is wrong.
    """
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_database(desk_template()))
        if "redis_url" not in overrides:
            overrides["redis_url"] = await stack.enter_async_context(fresh_redis())
        app = create_app(load_settings(**{"database_url": url, "token_secret": TOKEN_SECRET, **overrides}))
        served = _OwnStatePerRequest(AppWatch(app))
        lifespan = LifespanManager(
            served, startup_timeout=LIFESPAN_TIMEOUT_S, shutdown_timeout=LIFESPAN_TIMEOUT_S
        )
        async with lifespan as manager:
            transport = _TimedTransport(app=manager.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
                running = RunningApp(app, client, overrides.get("database_url", url), served.state)
                client.headers.update(await running.sign_in(USER))
                yield running


class _OwnStatePerRequest:
    """Copies the lifespan state for each request, as uvicorn does; asgi-lifespan hands out one dictionary."""

    state: AppState

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self.state = scope["state"]
        else:
            scope = {**scope, "state": dict(scope["state"])}
        await self._app(scope, receive, send)


class _TimedTransport(httpx.ASGITransport):
    """An ASGI transport that gives up: httpx ignores `timeout=` here, and a cell would wait for ever."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await super().handle_async_request(request)
        except TimeoutError:
            raise httpx.ReadTimeout(
                f"{request.method} {request.url.path} took longer than {REQUEST_TIMEOUT_S:g} s",
                request=request,
            ) from None
