"""One factory makes the Redis client, with short timeouts and without retries."""

from __future__ import annotations

import re

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from reference_app.settings import Settings

#: For so long a request waits for a connection to Redis before it does without.
CONNECTION_WAIT_S = 1.0


def create_redis(settings: Settings, *, connection_wait_s: float = CONNECTION_WAIT_S) -> Redis | None:
    """Return a client, or None where REDIS_URL is not set; it connects on first use.

    Whoever creates it closes it with `aclose()`.

    Args:
        settings: The URL, the timeout in seconds and the largest number of connections come from here.
        connection_wait_s: For so many seconds a request waits for one of these connections.
    """
    if settings.redis_url is None:
        return None
    # Blocking: a pool that raises when all connections are taken looks like a Redis that is away, and a burst
    # of callers would pass uncounted.
    pool = BlockingConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        timeout=connection_wait_s,
        # The service can do without Redis, so a Redis that is away must not cost much time.
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        max_connections=settings.redis_max_connections,
        # redis-py sends a call again ten times by default: a hit of a rate limit would count eleven times.
        retry=Retry(NoBackoff(), 0),
        # PostgreSQL takes a name with a space, and Redis refuses it.
        client_name=re.sub(r"[^!-~]", "-", settings.database_application_name),
    )
    return Redis.from_pool(pool)
