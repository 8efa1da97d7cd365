"""All middleware of the app, in one readable list. Each is plain ASGI and costs microseconds.

Never `BaseHTTPMiddleware`: it hides the client's disconnect and the context variables of the endpoint, and
costs as much as a cached answer.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Scope

from reference_app.infra.entity_tags import EntityTagMiddleware
from reference_app.infra.http_methods import HttpMethodsMiddleware
from reference_app.infra.metrics import Metrics
from reference_app.infra.rate_limits import RateLimitMiddleware
from reference_app.infra.response_headers import ResponseHeadersMiddleware
from reference_app.patterns.correlation_id import CorrelationId
from reference_app.patterns.graceful_drain import Drain
from reference_app.settings import Settings

#: What a script in a browser may read, besides the harmless ones that it always may.
EXPOSED = ("ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID")


def install_middleware(
    app: FastAPI, settings: Settings, metrics: Metrics, drain: Drain, caller: Callable[[Scope], str]
) -> None:
    """Wrap the app; `install_problems` has put the innermost layer, which makes every error a reply.

    Args:
        app: The app under construction.
        settings: For the origins of CORS.
        metrics: Observes every request.
        drain: Counts every request.
        caller: Names who asks, for the rate limit.
    """
    # From the inside out: the last one added is the first that a request meets.
    app.add_middleware(EntityTagMiddleware)
    app.add_middleware(RateLimitMiddleware, limiter=lambda scope: scope["state"]["limiter"], caller=caller)
    app.add_middleware(drain.middleware)
    # Outside of all that refuses or fails: a browser hides an error without these headers from its script.
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("Authorization", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID"),
            expose_headers=EXPOSED,
        )
    app.add_middleware(metrics.middleware)
    app.add_middleware(ResponseHeadersMiddleware)
    # Outside of all that could send the body of a GET.
    app.add_middleware(HttpMethodsMiddleware)
    app.add_middleware(CorrelationId)
