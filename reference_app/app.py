"""The app: `create_app(settings)` puts the parts together and opens nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Scope

from reference_app.identity.dependencies import principal_of
from reference_app.identity.problems import NotAuthenticated
from reference_app.infra.database.startup import wait_for_database
from reference_app.infra.http.docs import install_docs
from reference_app.infra.http.middleware import install_middleware
from reference_app.infra.http.problem_pages import router as problem_pages_router
from reference_app.infra.http.problems import COMMON_RESPONSES, install_problems
from reference_app.infra.http.rate_limits import create_limiter
from reference_app.infra.http.state import AppState
from reference_app.infra.process.garbage_collection import startup_objects_frozen
from reference_app.infra.process.resources import open_resources
from reference_app.infra.watch.health import add_checks, create_health
from reference_app.infra.watch.health import router as health_router
from reference_app.infra.watch.metrics import Metrics
from reference_app.nouns import NOUNS
from reference_app.patterns.graceful_drain import Drain
from reference_app.patterns.loop_lag import LoopLag
from reference_app.settings import Settings, load_settings, token_secret


def create_app(settings: Settings | None = None, exchange: ASGIApp | None = None) -> FastAPI:
    """Return the service; its lifespan opens the resources and closes them.

    Args:
        settings: None reads them from the environment, for `uvicorn --factory reference_app.app:create_app`.
        exchange: Stands for the exchange where the settings name none; None takes the simulated one.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    settings = settings or load_settings()
    metrics, health = Metrics(), create_health()
    drain = Drain(notice_s=settings.shutdown_notice_s, on_begin=health.close)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[AppState]:
        token_secret(settings)  # said before the database is waited for
        async with AsyncExitStack() as stack:
            resources = await stack.enter_async_context(open_resources(settings, exchange))
            await wait_for_database(resources["engine"], settings)
            for noun in NOUNS:
                resources["services"].add(await stack.enter_async_context(noun.open_service(resources)))
            redis = resources["redis"]
            add_checks(health, resources["engine"], redis)
            await stack.enter_async_context(LoopLag(observe=metrics.loop_lag.observe))
            stack.enter_context(startup_objects_frozen())
            # Last, so first at the end: readiness says no, requests under way finish, then the pools close.
            await stack.enter_async_context(drain)
            limiter = create_limiter(redis, limit=settings.rate_limit, window_s=settings.rate_limit_window_s)
            yield AppState(**resources, health=health, limiter=limiter)

    app = FastAPI(
        title="FastAPI Deskbook: paper-trading desk",
        version="1.0.0",
        description="Prices are real daily prices of 2000 to 2013. Errors are `application/problem+json`.",
        lifespan=lifespan,
        docs_url=None,  # see infra/http/docs.py
        redoc_url=None,
        # One spelling for each URL: the redirect of a trailing slash says http:// behind a TLS proxy.
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    install_problems(app, settings.retry_after_s)
    install_middleware(app, settings, observed=metrics.middleware, drained=drain.middleware, caller=_caller)
    # The body limit is on the routers and not on the app: so its 413 passes through the problem middleware.
    # Side by side and not nested in a router /v1: FastAPI looks through a router once more for each level.
    limit = settings.max_body_size_bytes
    for noun in NOUNS:
        for router in noun.routers():
            app.include_router(router, max_body_size=limit, responses=COMMON_RESPONSES)
    app.include_router(health_router, max_body_size=limit)
    app.include_router(problem_pages_router, max_body_size=limit)
    app.state.metrics = metrics  # for tests and notebooks: nobody asks a web worker for them
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
