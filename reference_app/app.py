"""The app: `create_app(settings)` puts the parts together and opens nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Scope

from reference_app.accounts.router import router as accounts_router
from reference_app.identity.dependencies import IdentityState, principal_of
from reference_app.identity.passwords import Passwords
from reference_app.identity.problems import NotAuthenticated
from reference_app.identity.router import router as identity_router
from reference_app.identity.tokens import Tokens
from reference_app.infra.database import create_engine, create_sessions
from reference_app.infra.docs import install_docs
from reference_app.infra.garbage_collection import startup_objects_frozen
from reference_app.infra.health import add_checks, create_health
from reference_app.infra.health import router as health_router
from reference_app.infra.metrics import Metrics
from reference_app.infra.middleware import install_middleware
from reference_app.infra.problem_pages import router as problem_pages_router
from reference_app.infra.problems import COMMON_RESPONSES, install_problems
from reference_app.infra.rate_limits import create_limiter
from reference_app.infra.redis_client import create_redis
from reference_app.infra.startup import wait_for_database
from reference_app.market.aggregates import Aggregates
from reference_app.market.exchange_client import create_exchange_client
from reference_app.market.exchange_simulator import create_exchange
from reference_app.market.quotes import create_quotes
from reference_app.market.router import MarketState
from reference_app.market.router import router as market_router
from reference_app.market.router import router_v2 as market_router_v2
from reference_app.market.service import MarketService
from reference_app.market.transfers import router as transfers_router
from reference_app.orders.router import OrdersState
from reference_app.orders.router import router as orders_router
from reference_app.orders.service import OrderService
from reference_app.patterns.graceful_drain import Drain
from reference_app.patterns.loop_lag import LoopLag
from reference_app.patterns.serializable_retry import SerializableRetry
from reference_app.portfolio.router import PortfolioState
from reference_app.portfolio.router import router as portfolio_router
from reference_app.portfolio.service import PortfolioService
from reference_app.settings import Settings, load_settings, token_secret
from reference_app.watchlists.router import WatchlistsState
from reference_app.watchlists.router import router as watchlists_router
from reference_app.watchlists.service import WatchlistService


class DeskState(IdentityState, MarketState, OrdersState, WatchlistsState, PortfolioState):
    """Everything that the lifespan makes; each noun declares its part."""


def create_app(settings: Settings | None = None, exchange: ASGIApp | None = None) -> FastAPI:
    """Return the service; its lifespan opens the resources and closes them.

    Args:
        settings: None reads them from the environment, for `uvicorn --factory reference_app.app:create_app`.
        exchange: Stands for the exchange where the settings name none; None: the simulated one.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    settings = settings or load_settings()
    metrics, health = Metrics(), create_health()
    drain = Drain(notice_s=settings.shutdown_notice_s, on_begin=health.close)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[DeskState]:
        tokens = Tokens(token_secret(settings), ttl_s=settings.token_ttl_s)
        async with AsyncExitStack() as stack:
            engine = create_engine(settings)
            stack.push_async_callback(engine.dispose)
            await wait_for_database(engine, settings)
            sessions = create_sessions(engine)
            redis = create_redis(settings)
            if redis is not None:
                stack.push_async_callback(redis.aclose)
            client = await stack.enter_async_context(
                create_exchange_client(settings, exchange or create_exchange())
            )
            quotes = await stack.enter_async_context(create_quotes(client, settings))
            passwords = stack.enter_context(closing(Passwords()))
            market = MarketService(sessions, quotes=quotes, aggregates=Aggregates(redis))
            await market.warm()
            add_checks(health, engine, redis)
            await stack.enter_async_context(LoopLag(observe=metrics.loop_lag.observe))
            stack.enter_context(startup_objects_frozen())
            # Last, so first at the end: readiness says no, requests under way finish, then the pools close.
            await stack.enter_async_context(drain)
            yield DeskState(
                settings=settings,
                engine=engine,
                sessions=sessions,
                # Twelve tries: a user who opens ten accounts at once meets nine conflicts.
                serializable=SerializableRetry(sessions, max_tries=12),
                redis=redis,
                health=health,
                limiter=create_limiter(
                    redis, limit=settings.rate_limit, window_s=settings.rate_limit_window_s
                ),
                tokens=tokens,
                passwords=passwords,
                market=market,
                watchlists=WatchlistService(sessions, market),
                orders=OrderService(engine, sessions, market),
                portfolio=PortfolioService(sessions, market),
            )

    app = FastAPI(
        title="FastAPI Deskbook: paper-trading desk",
        version="1.0.0",
        description="Prices are real daily prices of 2000 to 2013. Errors are `application/problem+json`.",
        lifespan=lifespan,
        docs_url=None,  # see infra/docs.py
        redoc_url=None,
        # One spelling for each URL: the redirect of a trailing slash says http:// behind a TLS proxy.
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    install_problems(app, settings.retry_after_s)
    install_middleware(app, settings, metrics, drain, _caller)
    # The body limit is on the routers and not on the app: so its 413 passes through the problem middleware.
    # Side by side and not nested in a router /v1: FastAPI looks through a router once more for each level.
    # What is asked most stands first.
    limit = settings.max_body_size_bytes
    app.include_router(market_router_v2, max_body_size=limit, responses=COMMON_RESPONSES)
    for router in (
        market_router,
        orders_router,
        accounts_router,
        portfolio_router,
        watchlists_router,
        transfers_router,
        identity_router,
    ):
        app.include_router(router, prefix="/v1", max_body_size=limit, responses=COMMON_RESPONSES)
    app.include_router(health_router, max_body_size=limit)
    app.include_router(problem_pages_router, max_body_size=limit)
    app.include_router(metrics.router())
    install_docs(app)
    return app


def _caller(scope: Scope) -> str:
    """Name who asks, for the rate limit: the user of a good token, else the address.

    A token that is not good is not a caller: who makes them up would have a fresh limit each time.
    """
    with suppress(NotAuthenticated):
        return principal_of(scope).name
    client = scope.get("client")
    return f"address:{client[0] if client else 'unknown'}"


def _operation_id(route: APIRoute) -> str:
    return route.name  # "open_account": short names for generated clients
