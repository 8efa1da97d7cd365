"""The app: `create_app(settings)` puts the parts together and opens nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from reference_app.accounts.router import router as accounts_router
from reference_app.infra.database import create_engine, create_sessions
from reference_app.infra.docs import install_docs
from reference_app.infra.health import router as health_router
from reference_app.infra.http_methods import HttpMethodsMiddleware
from reference_app.infra.problem_pages import router as problem_pages_router
from reference_app.infra.problems import COMMON_RESPONSES, install_problems
from reference_app.infra.startup import check_database
from reference_app.infra.state import AppState
from reference_app.market.router import router as market_router
from reference_app.settings import Settings, load_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service; its lifespan opens the resources and closes them.

    Args:
        settings: None reads them from the environment, for `uvicorn --factory reference_app.app:create_app`.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    settings = settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[AppState]:
        engine = create_engine(settings)
        try:
            await check_database(engine, settings)
            yield AppState(settings=settings, engine=engine, sessions=create_sessions(engine))
        finally:
            await engine.dispose()

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
    app.add_middleware(HttpMethodsMiddleware)
    install_docs(app)
    # The body limit is on the router and not on the app: so its 413 passes through the problem middleware.
    v1 = APIRouter(prefix="/v1", max_body_size=settings.max_body_size_bytes, responses=COMMON_RESPONSES)
    v1.include_router(market_router)
    v1.include_router(accounts_router)
    app.include_router(v1)
    app.include_router(health_router)
    app.include_router(problem_pages_router)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name  # "open_account": short names for generated clients
