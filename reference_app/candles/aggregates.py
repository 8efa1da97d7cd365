"""Weekly and monthly candles: made by the database, kept in Redis for all workers, rendered once.

They cost a scan of a year's candles and change only with an import. Without Redis each is made when it is
asked for: slower, and never wrong. What is kept is what goes over the wire, so its schema stands here too.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import logging
from collections.abc import Awaitable, Callable, Iterable

from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis

from reference_app.patterns.money import Price
from reference_app.patterns.redis_cache import RedisCache
from reference_app.patterns.single_flight import SingleFlight

logger = logging.getLogger(__name__)

#: For so long at most an old value is kept when its invalidation was lost, by a crash after the commit.
TTL_S = 3600.0
WARM_TIMEOUT_S = 1.0


class Interval(enum.StrEnum):
    """How long an aggregate is."""

    WEEKLY = "weekly"
    MONTHLY = "monthly"


class AggregateOut(BaseModel):
    """One week, from Monday, or one month of one instrument, in US dollars a share."""

    model_config = ConfigDict(from_attributes=True)

    start: dt.date = Field(description="First day of the week or month; it need not be a trading day.")
    open: Price
    high: Price
    low: Price
    close: Price
    volume: int
    days: int = Field(description="How many trading days it has.")


class AggregatesOut(BaseModel):
    """The weeks or months that begin in a year."""

    symbol: str = Field(examples=["AAPL"])
    interval: Interval
    year: int
    items: list[AggregateOut]


Load = Callable[[], Awaitable[bytes | None]]


class Aggregates:
    """Rendered aggregates by key, dropped by symbol; one instance serves a whole process.

    Args:
        redis: Keeps them for all workers; with None nothing is kept, and each is made when it is asked for.
    """

    def __init__(self, redis: Redis | None) -> None:
        # Not JSON decoded and encoded again: what Redis holds is what the client gets.
        self._cache: RedisCache[bytes] | None = None
        if redis is not None:
            self._cache = RedisCache(
                client=redis, prefix="aggregates:v1", encode=bytes, decode=bytes, ttl_s=TTL_S
            )
        self._flights: SingleFlight[bytes | None] = SingleFlight()

    async def get(self, symbol: str, key: str, load: Load) -> bytes | None:
        """Return what is kept, or make it with `load`, once for all who ask in this process.

        Args:
            symbol: The entry is dropped together with everything else about this symbol.
            key: The name of the entry; it must contain what the entry is made of.
            load: Makes the entry; None says that there is no such thing, which is kept for a second.
        """
        cache = self._cache
        if cache is None:
            return await self._flights.do(key, load)
        return await self._flights.do(key, lambda: cache.get(key, load, f"symbol:{symbol}"))

    async def drop(self, symbols: Iterable[str]) -> None:
        """Forget everything about these symbols; call it after the commit."""
        if self._cache is not None and (tags := [f"symbol:{symbol}" for symbol in symbols]):
            await self._cache.invalidate(*tags)
        # What is being made may have read what was there before the commit.
        self._flights = SingleFlight()

    async def warm(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run work that asks for the entries which many will ask for; it is given up after a second."""
        if self._cache is None:
            return
        try:
            async with asyncio.timeout(WARM_TIMEOUT_S):
                await work()
        except Exception as error:  # the service can do without: it must start all the same
            logger.info("the cache of aggregates stays cold: %s", type(error).__name__)
