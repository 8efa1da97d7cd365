"""What lives as long as the service: made by the lifespan, handed to requests by type."""

from __future__ import annotations

from typing import TypedDict

from fastapi import Request
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from reference_app.infra.database import Sessions
from reference_app.infra.rate_limits import LeasedLimiter
from reference_app.patterns.health import Health
from reference_app.patterns.serializable_retry import SerializableRetry
from reference_app.settings import Settings


class AppState(TypedDict):
    """The resources that the lifespan owns."""

    settings: Settings
    engine: AsyncEngine
    sessions: Sessions
    serializable: SerializableRetry
    redis: Redis | None
    health: Health
    limiter: LeasedLimiter | None


class AppRequest(Request[AppState]):
    """For annotations: a request whose `state["sessions"]` is typed.

    FastAPI hands over a plain Request, which is the same object; it does not know the spelling
    `Request[AppState]` as a parameter type.
    """
