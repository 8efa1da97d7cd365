# /// script
# requires-python = ">=3.11"
# dependencies = ["fastapi>=0.128"]
# ///
"""Two answers for two probes: the process is alive, and requests may be sent to it now.

Use it in every service that a load balancer or an orchestrator watches. Liveness asks nobody: if it asked the
database, an outage of the database would have every worker killed, and the restarts would come on top of it.
Readiness asks what no request can do without, all at once, each for `timeout_s`.

Do not use it as monitoring (count what requests get), nor ask for what a request can do without: one
dependency that all workers share takes all of them out at once. Such a check is not `required`.

Limits: an answer is up to `max_age_s` old, so that probes cannot wear out what they ask. One event loop. A
check that ignores its cancellation holds the probe until the prober gives up. Whoever reaches the URL sees
the names of failing checks; what they raised stands only in the log, once for each change.

Instead: `fastapi-health` takes its conditions as dependencies; they run one after the other, without a time
limit, an error in one is a 500, and every probe asks again.

Example:
    >>> health = Health(timeout_s=0.8)  # app.include_router(health.router()) in create_app
    >>> async def ping() -> bool:  # async with engine.connect() as c: await c.execute(text("SELECT 1"))
    ...     return False
    >>> health.add("database", ping)  # in the lifespan, where the engine is
    >>> asyncio.run(health.ready())
    Report(status='unavailable', failing={'database': 'ValueError'})

Source: Kubernetes documentation, "Liveness, Readiness, and Startup Probes"; RFC 9457 for the body of the 503.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

logger = logging.getLogger(__name__)
Check = Callable[[], Awaitable[object]]
_FRESH = {"Cache-Control": "no-store"}
_PROBLEM = {"application/problem+json": {"schema": {"type": "object"}}}
_503: dict[int | str, dict[str, Any]] = {503: {"description": "Not ready", "content": _PROBLEM}}


class Report(BaseModel):
    """What a probe is told.

    Attributes:
        status: "degraded" where checks fail, but none that is required.
        failing: The names of the failing checks, with the kind of the error and never its text.
    """

    status: Literal["ok", "degraded", "unavailable"]
    failing: dict[str, str] = Field(default_factory=dict)


class Health:
    """The checks of a process, and what they said last.

    Args:
        timeout_s: Seconds for a check; below what the prober waits (Kubernetes: 1 s unless told).
        max_age_s: Seconds that an answer is given again without asking anew.
        unavailable: Makes the exception that /ready raises; None: it answers with a plain problem.
        clock: Monotonic seconds.

    Attributes:
        closed: Whether `close` was called.
        rounds: How often the checks were run.
        failures: How often each of them failed.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 0.8,
        max_age_s: float = 1.0,
        unavailable: Callable[[Report], Exception] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._max_age_s = max_age_s
        self._unavailable = unavailable
        self._clock = clock
        self._checks: dict[str, tuple[Check, bool]] = {}
        self._lock = asyncio.Lock()
        self._report = Report(status="ok")
        self._asked_s = float("-inf")
        self.closed = False
        self.rounds = 0
        self.failures = Counter[str]()

    def add(self, name: str, check: Check, *, required: bool = True) -> None:
        """Add a check; one of the same name is replaced.

        Args:
            name: Stands in the report and in the log.
            check: Fails by raising or by returning False.
            required: Whether requests cannot be served without it.
        """
        self._checks[name] = (check, required)
        self._asked_s = float("-inf")

    def close(self) -> None:
        """Be unavailable from now on, whatever the checks say: before a shutdown, so that requests stop."""
        self.closed = True

    async def ready(self) -> Report:
        """Return the last report, or run all checks if it is too old."""
        if not self.closed:
            # Without the lock every probe that finds the report too old asks the database as well.
            async with self._lock:
                if self._clock() - self._asked_s >= self._max_age_s:
                    self._report = await self._ask()
                    self._asked_s = self._clock()
        if self.closed:  # perhaps while it asked
            return Report(status="unavailable", failing={"service": "Closing"})
        return self._report

    async def _ask(self) -> Report:
        self.rounds += 1
        checks = dict(self._checks)
        async with asyncio.TaskGroup() as group:  # all at once: the prober does not wait for their sum
            tasks = {name: group.create_task(self._run(check)) for name, (check, _) in checks.items()}
        failing: dict[str, str] = {}
        for name, task in tasks.items():
            # A driver may end as cancelled of its own accord; nobody cancelled the prober.
            error = ConnectionError("cancelled") if task.cancelled() else task.result()
            if error is not None:
                self.failures[name] += 1
                failing[name] = type(error).__name__
                if name not in self._report.failing:
                    logger.warning("health check %s fails", name, exc_info=error)
            elif name in self._report.failing:
                logger.info("health check %s is well again", name)
        if any(checks[name][1] for name in failing):
            return Report(status="unavailable", failing=failing)
        return Report(status="degraded" if failing else "ok", failing=failing)

    async def _run(self, check: Check) -> Exception | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                if await check() is False:
                    return ValueError("the check returned False")
        except Exception as error:
            return error
        return None

    def router(self, prefix: str = "/health") -> APIRouter:
        """Return the routes `live` and `ready`, for `app.include_router`."""
        router = APIRouter(prefix=prefix, tags=["health"])
        shape: dict[str, Any] = {"response_model": Report, "response_model_exclude_defaults": True}

        @router.head("/live", include_in_schema=False, **shape)  # many probes send HEAD
        @router.get("/live", **shape)
        async def live(response: Response) -> Report:
            """Say that the process answers; it asks nobody else."""
            response.headers.update(_FRESH)
            return Report(status="ok")

        @router.head("/ready", include_in_schema=False, **shape)
        @router.get("/ready", **shape, responses=_503)
        async def ready(response: Response) -> Report | Response:
            """Say whether requests can be served now."""
            response.headers.update(_FRESH)
            report = await self.ready()
            if report.status != "unavailable":
                return report
            if self._unavailable is not None:
                raise self._unavailable(report)
            body = {"title": "Service Unavailable", "status": 503, "failing": report.failing}
            return JSONResponse(body, 503, _FRESH, "application/problem+json")

        return router
