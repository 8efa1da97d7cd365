# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Keep costly objects for the next one who needs them: no more than so many, and none that is broken.

Use it for what takes long to make and can be used by one task at a time: a session with a legacy server, a
compiled parser, a subprocess, a large buffer. Measure first: for what Python makes in microseconds the pool
costs more than it saves, and it keeps memory that would be free.

Do not use it for database, Redis or HTTP connections: their clients have pools that know the protocol.

Limits: one process and one event loop. An object must not be kept after the block. A block that fails or is
cancelled costs its object. `is_usable` must not wait, so what has died unseen fails at its first use.

Instead: use the pool of your client, if it has one. `object-pool` is for threads, and gives a broken object
to the next one. `generic-connection-pool` has connections by address, and asks each of them whether it lives
before its use.

Example:
    >>> async def report() -> None:
    ...     async def create() -> list[str]:
    ...         print("slow")
    ...         return []
    ...     async with ObjectPool(create, max_size=2, timeout_s=1, reset=list.clear) as buffers:
    ...         for line in ("AAPL", "IBM"):
    ...             async with buffers.acquire() as buffer:
    ...                 buffer.append(line)
    ...                 print(buffer)
    >>> asyncio.run(report())
    slow
    ['AAPL']
    ['IBM']

Source: Kircher and Jain, "Pooling" (EuroPLoP 2002); SQLAlchemy, "Connection Pooling", for LIFO and recycling.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class NoneFree(Exception):
    """All objects were in use for `timeout_s`: answer 503, or make the pool larger."""


class PoolClosed(Exception):
    """The pool gives out nothing any more."""


async def _nothing(thing: object) -> None: ...


@dataclass(eq=False)
class ObjectPool(Generic[T]):
    """Makes objects on demand and keeps them; an async context manager for the lifespan.

    Attributes:
        create: Makes one; give it a timeout of its own.
        max_size: How many there are at most, at least 1.
        timeout_s: Seconds to wait for one.
        close: Called with what is not kept.
        reset: Called with what was used; if it raises, the object is not kept.
        is_usable: Asked before an object is used again; if it raises, the object is not used.
        max_idle_s: Seconds after which an unused object is not used again: below the other side's patience.
        clock: Monotonic seconds.
        in_use: How many objects are lent now.
        created: How many were made.
        reused: How often one was lent again.
        discarded: How many were not kept.
        timeouts: How many callers waited in vain.

    Raises:
        ValueError: `max_size` is below 1.
    """

    create: Callable[[], Awaitable[T]]
    _: KW_ONLY
    max_size: int
    timeout_s: float
    close: Callable[[T], Awaitable[Any]] = _nothing
    reset: Callable[[T], object] = lambda thing: None
    is_usable: Callable[[T], bool] = lambda thing: True
    max_idle_s: float = 60.0
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if self.max_size < 1:
            raise ValueError("max_size must be at least 1")
        self._places = asyncio.Semaphore(self.max_size)
        self._idle: list[tuple[float, T]] = []
        self._closed = False
        self.in_use = self.created = self.reused = self.discarded = self.timeouts = 0

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[T]:
        """Lend an object to the block.

        Raises:
            NoneFree: None came back in time.
            PoolClosed: The service is closing.
            Exception: What `create` raised.
        """
        await self._take_place()
        self.in_use += 1
        try:
            thing = await self._get()
            try:
                yield thing
                self.reset(thing)
            except BaseException:
                # Half a command may have been sent: the next one would read the answer to this one.
                await self._discard(thing)
                raise
            if self._closed:
                await self._discard(thing)
            else:
                self._idle.append((self.clock(), thing))
        finally:  # after the object is back, or who waits would make one too many
            self.in_use -= 1
            self._places.release()

    async def _take_place(self) -> None:
        try:
            # Without a need to wait no timer, which costs more than all the rest.
            async with asyncio.timeout(self.timeout_s) if self._places.locked() else nullcontext():
                await self._places.acquire()
        except TimeoutError:
            self.timeouts += 1
            raise NoneFree(f"{self.max_size} objects were in use for {self.timeout_s} s") from None

    async def _get(self) -> T:
        while self._idle and not self._closed:
            since_s, thing = self._idle.pop()  # the last one used: the others can become old and go
            with suppress(Exception):  # of is_usable: what cannot be asked is not usable
                if self.clock() - since_s < self.max_idle_s and self.is_usable(thing):
                    self.reused += 1
                    return thing
            await self._discard(thing)
        if self._closed:
            raise PoolClosed("the pool is closed")
        thing = await self.create()
        self.created += 1
        return thing

    async def _discard(self, thing: T) -> None:
        self.discarded += 1
        with suppress(Exception):  # what is broken often cannot be closed either
            await self.close(thing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._closed = True  # what is in use is closed when it comes back
        while self._idle:
            _, thing = self._idle.pop()
            await self._discard(thing)
