"""Tell others what happened to orders, until SIGTERM: `python -m reference_app.orders.outbox_relay`.

Each event goes to a Redis stream, at least once, and in order for each order. Readers remember `event_id`s
and skip those they have seen: after a crash between publishing and committing, an event comes again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from reference_app.infra.process.background import run_process
from reference_app.infra.process.resources import Resources
from reference_app.patterns.outbox import Event, Relay
from reference_app.settings import SettingsError

STREAM = "desk:orders"
#: The stream keeps so many events; readers that are further behind read the orders themselves.
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


async def relay(resources: Resources) -> None:
    """Publish until cancelled.

    Raises:
        SettingsError: REDIS_URL is not set.
    """
    redis = resources["redis"]
    if redis is None:
        raise SettingsError("REDIS_URL is not set: the relay publishes to a Redis stream.")
    relay = Relay(resources["sessions"], publisher(redis))
    await relay.run(poll_interval_s=resources["settings"].relay_poll_interval_s)


def main() -> None:
    """Publish the events of the database that DATABASE_URL names to the Redis that REDIS_URL names."""
    run_process("outbox_relay", relay)


if __name__ == "__main__":
    main()
