"""Liveness and readiness, apart: a database that is away must not make the orchestrator kill every worker."""

from __future__ import annotations

from fastapi import Response
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from reference_app.infra.http.cache_control import CacheControl, set_cache_control
from reference_app.infra.http.problems import ServiceUnavailable
from reference_app.infra.http.routing import PrefixRouter
from reference_app.infra.http.state import AppRequest
from reference_app.patterns.health import Health, Report
from reference_app.patterns.problem_details import documented

router = PrefixRouter(prefix="/health", tags=["health"])

#: Shorter than the probe of an orchestrator waits (Kubernetes: 1 s unless told).
READY_TIMEOUT_S = 0.8


def create_health() -> Health:
    """Return the health of an app, without checks before its lifespan adds them."""
    return Health(timeout_s=READY_TIMEOUT_S)


def add_checks(health: Health, engine: AsyncEngine, redis: Redis | None) -> None:
    """Ask the database, which no request can do without, and Redis, which all of them can.

    Args:
        health: Gets the checks.
        engine: The engine of the process.
        redis: The client of the process; None where there is none to be asked.
    """

    async def ask_database() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    health.add("database", ask_database)
    if redis is not None:
        health.add("redis", redis.ping, required=False)


@router.get("/live", response_model_exclude_defaults=True)
async def live(response: Response) -> Report:
    """Say that the process answers; it asks nobody else."""
    set_cache_control(response, CacheControl.NO_STORE)
    return Report(status="ok")


@router.get("/ready", response_model_exclude_defaults=True, responses=documented(ServiceUnavailable))
async def ready(request: AppRequest, response: Response) -> Report:
    """Say whether requests can be served: the database answers in 0.8 s, and the service is not closing."""
    set_cache_control(response, CacheControl.NO_STORE)
    report = await request.state["health"].ready()
    if report.status == "unavailable":
        raise ServiceUnavailable(f"Failing: {', '.join(sorted(report.failing))}.")
    return report
