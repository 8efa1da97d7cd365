"""The limit of requests of each caller, counted in Redis for all workers, and asked for in batches.

A round trip to Redis for each request would cost as much as a cached answer. So a worker leases permits:
one at first, and twice as many each time that it uses them up within a second.

The bound: permits are counted when they are leased, so all workers together never give out more than the
limit and what comes back in the meantime. A permit may be used up to `LEASE_S` after it was counted; in any
window that is `workers x batch` requests too many at most. What is left of a lease when it ends is lost to
the caller: at most twice as many permits as it used in the second before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reference_app.infra.http.problems import TooManyRequests
from reference_app.patterns.rate_limit import Decision, RateLimiter
from reference_app.patterns.single_flight import SingleFlight
from reference_app.patterns.ttl_cache import TTLCache

LEASE_S = 1.0
MAX_CALLERS = 10_000
#: Whoever watches the service must get through when everybody else is refused.
EXEMPT = frozenset({"/health/live", "/health/ready"})
#: Requests that hash a password, 20 ms of a processor each: so many times what a read costs. With one price
#: for all, the passwords that an address may have checked are more than all processors can check.
COSTS = {("POST", "/v1/tokens"): 60, ("POST", "/v1/users"): 60}


@dataclass
class _Lease:
    """Permits that are counted already, or a refusal.

    `left` changes in place: a worker has one event loop, and there is no await between look and take.
    """

    decision: Decision
    size: int
    left: int
    refused_until_s: float = 0.0


class LeasedLimiter:
    """Says of each request whether it may pass.

    Args:
        limiter: Counts for all workers.
        batch: Permits that are leased at once at most.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self, limiter: RateLimiter, *, batch: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limiter, self._batch, self._clock = limiter, batch, clock
        self._leases: TTLCache[str, _Lease] = TTLCache(ttl_s=LEASE_S, max_entries=MAX_CALLERS, clock=clock)
        self._flights: SingleFlight[_Lease] = SingleFlight()

    async def hit(self, caller: str, cost: int = 1) -> tuple[Decision, int]:
        """Count a request, and return the decision and how many permits are left.

        Args:
            caller: Who asks.
            cost: How many permits the request needs; one that needs several is rare, and is counted alone.
        """
        if cost > 1:
            decision = await self._limiter.hit(caller, min(cost, self._limiter.limit))
            return decision, decision.remaining
        lease = self._leases.get(caller)
        while True:
            if lease is not None and lease.left > 0:
                lease.left -= 1
                return lease.decision, lease.decision.remaining + lease.left
            if lease is not None and self._clock() < lease.refused_until_s:
                return lease.decision, 0
            # Without the flight a hundred requests at once would lease a hundred times.
            lease = await self._flights.do(caller, partial(self._lease, caller))

    async def _lease(self, caller: str) -> _Lease:
        used_up = self._leases.get(caller)
        size = min(self._batch, 2 * used_up.size) if used_up is not None else 1
        decision = await self._limiter.hit(caller, size)
        while not decision.is_allowed and size > 1:
            size = min(size - 1, decision.remaining) or 1
            decision = await self._limiter.hit(caller, size)
        lease = _Lease(decision, size, size if decision.is_allowed else 0)
        if not decision.is_allowed:
            lease.refused_until_s = self._clock() + min(LEASE_S, decision.retry_after_s)
        elif not decision.is_counted:
            lease.left = self._batch  # Redis is away: do not ask it for every request
        self._leases.put(caller, lease)
        return lease


class RateLimitMiddleware:
    """Refuses with 429 what is too much, and tells every caller what is left.

    Args:
        app: The app whose requests are counted.
        limiter: Returns the limiter for a request; where it returns None, nothing is limited.
        caller: Names who asks, for a request.
    """

    def __init__(
        self, app: ASGIApp, limiter: Callable[[Scope], LeasedLimiter | None], caller: Callable[[Scope], str]
    ) -> None:
        self._app, self._limiter, self._caller = app, limiter, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request, then run the app or refuse."""
        limiter = self._limiter(scope) if scope["type"] == "http" else None
        if limiter is None or scope["path"] in EXEMPT:
            await self._app(scope, receive, send)
            return
        cost = COSTS.get((scope["method"], scope["path"]), 1)
        decision, left = await limiter.hit(self._caller(scope), cost)
        if not decision.is_allowed:
            await TooManyRequests(headers=decision.headers()).response()(scope, receive, send)
            return
        policy = f'"{decision.policy}";q={decision.limit};w={decision.window_s}'.encode()
        state = f'"{decision.policy}";r={left};t={math.ceil(decision.reset_s)}'.encode()

        async def send_with_limit(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = [(b"ratelimit-policy", policy)]
                if decision.is_counted:
                    fields.append((b"ratelimit", state))
                message["headers"] = [*message.get("headers", ()), *fields]
            await send(message)

        await self._app(scope, receive, send_with_limit)


def create_limiter(redis: Redis | None, *, limit: int, window_s: int) -> LeasedLimiter | None:
    """Return the limiter of a worker, or None without Redis, where workers could not count together.

    Args:
        redis: A client that does not retry.
        limit: Requests that a caller may make at once, and then again in each window.
        window_s: Length of the window in seconds.
    """
    if redis is None:
        return None
    limiter = RateLimiter(client=redis, limit=limit, window_s=window_s)
    return LeasedLimiter(limiter, batch=max(1, min(1000, limit // 100)))
