"""What lives as long as the service, as requests see it, and the one way to reach a noun's service."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Depends, Request

from reference_app.infra.http.rate_limits import LeasedLimiter
from reference_app.infra.process.resources import Resources
from reference_app.patterns.health import Health

Service = TypeVar("Service")


class AppState(Resources):
    """What the lifespan makes: the resources of the process, and what only a web worker has."""

    health: Health
    limiter: LeasedLimiter | None


class AppRequest(Request[AppState]):
    """For annotations: a request whose `state["sessions"]` is typed.

    FastAPI hands over a plain Request, which is the same object; it does not know the spelling
    `Request[AppState]` as a parameter type.
    """


def service_of(kind: type[Service]) -> Any:
    """Return the dependency that gives a route a service; each noun has one alias for it in its router.

        Orders = Annotated[OrderService, service_of(OrderService)]

    Args:
        kind: The class of the service.
    """

    # async, though it awaits nothing: FastAPI runs a plain function in a thread, which costs more.
    async def service(request: AppRequest) -> Service:
        return request.state["services"][kind]

    return Depends(service)
