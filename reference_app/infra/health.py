"""Liveness and readiness, apart: a database that is away must not make the orchestrator kill every worker."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text

from reference_app.infra.problems import ServiceUnavailable
from reference_app.infra.state import AppRequest
from reference_app.patterns.problem_details import documented

router = APIRouter(prefix="/health", tags=["health"])

#: Shorter than the probe of an orchestrator waits (Kubernetes: 1 s unless told).
READY_TIMEOUT_S = 0.8


class Health(BaseModel):
    """The answer of a probe."""

    status: Literal["ok"] = "ok"


@router.get("/live")
async def live() -> Health:
    """Say that the process answers; it asks nobody else."""
    return Health()


@router.get("/ready", responses=documented(ServiceUnavailable))
async def ready(request: AppRequest) -> Health:
    """Say whether requests can be served: the database answers within 0.8 s."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S), request.state["sessions"]() as session:
            await session.execute(text("SELECT 1"))
    except Exception as error:
        raise ServiceUnavailable("The database does not answer.") from error
    return Health()
