"""All middleware of the app, in one readable list. Each is plain ASGI and costs microseconds.

Never `BaseHTTPMiddleware`: it hides the client's disconnect and the context variables of the endpoint, and
costs as much as a cached answer.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope

from reference_app.infra.http.entity_tags import EntityTagMiddleware
from reference_app.infra.http.methods import HttpMethodsMiddleware
from reference_app.infra.http.rate_limits import RateLimitMiddleware
from reference_app.infra.http.response_headers import ResponseHeadersMiddleware
from reference_app.patterns.correlation_id import CorrelationId
from reference_app.settings import Settings

#: What a script in a browser may read, besides the harmless ones that it always may.
EXPOSED = ("ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID")


def install_middleware(
    app: FastAPI,
    settings: Settings,
    *,
    observed: Callable[[ASGIApp], ASGIApp],
    drained: Callable[[ASGIApp], ASGIApp],
    caller: Callable[[Scope], str],
) -> None:
    """Wrap the app; `install_problems` has put the innermost layer, which makes every error a reply.

    Args:
        app: The app under construction.
        settings: They name the origins of CORS.
        observed: Wraps the app so that every request is measured.
        drained: Wraps the app so that every request under way is known when it closes.
        caller: Names who asks, for the rate limit.
    """
    # From the inside out: the last one added is the first that a request meets.
    app.add_middleware(EntityTagMiddleware)
    app.add_middleware(RateLimitMiddleware, limiter=lambda scope: scope["state"]["limiter"], caller=caller)
    app.add_middleware(drained)
    # Outside of all that refuses or fails: a browser hides an error without these headers from its script.
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("Authorization", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID"),
            expose_headers=EXPOSED,
        )
    app.add_middleware(observed)
    app.add_middleware(ResponseHeadersMiddleware)
    # Outside of all that could send the body of a GET.
    app.add_middleware(HttpMethodsMiddleware)
    app.add_middleware(CorrelationId)
