"""Tell others what happened to orders, until SIGTERM: `python -m reference_app.orders.outbox_relay`.

Each event goes to a Redis stream, at least once, and in order for each order. Readers remember `event_id`s
and skip those they have seen: after a crash between publishing and committing, an event comes again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from reference_app.infra.database import create_sessions
from reference_app.infra.process import run_process
from reference_app.infra.redis_client import create_redis
from reference_app.patterns.outbox import Event, Relay
from reference_app.settings import Settings, SettingsError

STREAM = "desk:orders"
#: Of the stream; readers that are further behind read the orders themselves.
MAX_EVENTS = 100_000


def publisher(redis: Redis) -> Callable[[Event], Awaitable[None]]:
    """Return the function that puts an event into the stream."""

    async def publish(event: Event) -> None:
        fields = {
            "event_id": str(event.event_id),
            "key": event.key,
            "topic": event.topic,
            "payload": event.payload,
        }
        await redis.xadd(STREAM, fields, maxlen=MAX_EVENTS, approximate=True)  # type: ignore[arg-type]

    return publish


async def relay(settings: Settings, engine: AsyncEngine) -> None:
    """Publish until cancelled."""
    redis = create_redis(settings)
    if redis is None:
        raise SettingsError("REDIS_URL is not set: the relay publishes to a Redis stream.")
    try:
        relay = Relay(create_sessions(engine), publisher(redis))
        await relay.run(poll_interval_s=settings.relay_poll_interval_s)
    finally:
        await redis.aclose()


def main() -> None:
    """Publish the events of the database that DATABASE_URL names to the Redis that REDIS_URL names."""
    run_process("outbox_relay", relay)


if __name__ == "__main__":
    main()
