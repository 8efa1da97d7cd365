"""What a process holds from its start to its end: settings, connections, and the services of the nouns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypedDict, TypeVar, cast

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from reference_app.infra.database.engine import Sessions, create_engine, create_sessions
from reference_app.infra.database.redis_client import create_redis
from reference_app.patterns.serializable_retry import SerializableRetry
from reference_app.settings import Settings

Service = TypeVar("Service")


class Services:
    """The services of a process by their class; each lives as long as the process.

    market = services[MarketService]
    """

    def __init__(self) -> None:
        self._by_class: dict[type, object] = {}

    def add(self, service: object) -> None:
        """Keep a service; it takes the place of another one of its class."""
        self._by_class[type(service)] = service

    def __getitem__(self, kind: type[Service]) -> Service:
        """Return the service of a class.

        Raises:
            LookupError: It is not open (yet): nouns are opened in the order of `nouns.py`.
        """
        service = self._by_class.get(kind)
        if service is None:
            raise LookupError(f"no {kind.__name__} is open: its noun must stand before this one in nouns.py")
        return cast(Service, service)


class Resources(TypedDict):
    """What `open_resources` opens, and the services that are made of it.

    Attributes:
        serializable: Runs a unit of work again when it meets another one at the same rows.
        redis: None where REDIS_URL is not set.
        exchange: An ASGI app that stands for the exchange where the settings name none; None takes the
            simulated one.
    """

    settings: Settings
    engine: AsyncEngine
    sessions: Sessions
    serializable: SerializableRetry
    redis: Redis | None
    exchange: ASGIApp | None
    services: Services


@asynccontextmanager
async def open_resources(settings: Settings, exchange: ASGIApp | None = None) -> AsyncIterator[Resources]:
    """Open the connections of a process, and close them at the end of the block.

    Nothing is asked of a server yet: engine and Redis connect on first use.
    """
    async with AsyncExitStack() as stack:
        engine = create_engine(settings)
        stack.push_async_callback(engine.dispose)
        redis = create_redis(settings)
        if redis is not None:
            stack.push_async_callback(redis.aclose)
        sessions = create_sessions(engine)
        yield Resources(
            settings=settings,
            engine=engine,
            sessions=sessions,
            # Twelve tries: a user who opens ten accounts at once meets nine conflicts.
            serializable=SerializableRetry(sessions, max_tries=12),
            redis=redis,
            exchange=exchange,
            services=Services(),
        )
