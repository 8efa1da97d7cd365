# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Send each message to many listeners, none of whom can hold up the others or fill the memory.

Use it for live data: quotes to WebSockets, progress to server-sent events. The plain loop over the sockets
waits for the slowest, and a queue for each without a bound grows until the process is killed. Here publishing
never waits. A listener whose queue is full loses the oldest messages, where the newest counts (quotes), or
the connection, where each counts (fills): it comes back and resumes.

Do not use it for what must arrive: that is for `outbox`.

Limits: one process and one event loop; feed each worker's from Redis or from LISTEN. Who comes back to
another worker, or after a restart, gets `Missed`. It bounds neither the number of listeners nor what waits in
a socket: shed connections, and give each send a timeout. Subscribe first and load the state of now
afterwards, else what comes between is lost.

Instead: `broadcaster` speaks Redis, PostgreSQL and Kafka; its queues have no bound, and nobody can resume.

Example:
    >>> async def listen() -> None:
    ...     quotes: Broadcaster[str] = Broadcaster(max_queued=2, when_full="drop_oldest")
    ...     with quotes.subscribe() as subscription:
    ...         for price in ("131.10", "131.11", "131.12"):
    ...             quotes.publish(price)
    ...         quotes.close()
    ...         print([message.data async for message in subscription], subscription.dropped)
    >>> asyncio.run(listen())
    ['131.11', '131.12'] 1

Source: HTML Standard, server-sent events, for `Last-Event-ID`; IANA registry of WebSocket close codes (1013).
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Literal, Self, TypeVar

T = TypeVar("T")


class SlowListener(Exception):
    """The listener did not keep up and was cut off: close with 1013; it may resume."""


class Missed(Exception):
    """What followed is not kept here: load the state of now, and subscribe without `after`."""


@dataclass(frozen=True, slots=True)
class Message(Generic[T]):
    """What was published.

    Attributes:
        id: Such as the `id:` of a server-sent event.
        data: What the publisher handed in.
    """

    id: str
    data: T


@dataclass(eq=False)
class Subscription(Generic[T]):
    """What one listener has not taken yet; an async iterator for one task.

    Attributes:
        dropped: How many messages it lost.
    """

    dropped: int = field(default=0, init=False)
    _queue: deque[Message[T]]
    _limit: int
    _end: Exception | None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[T]:
        # The message is taken after the last await, so that a cancelled wait loses none.
        while not self._queue:
            if self._end is not None:
                raise self._end
            self._changed.clear()
            await self._changed.wait()
        return self._queue.popleft()


@dataclass(kw_only=True, eq=False)
class Broadcaster(Generic[T]):
    """Hands messages to all listeners, and keeps the last ones for those who come back.

    Attributes:
        max_queued: Messages that wait for a listener before it counts as slow, at least 1; those that it
            missed come on top.
        when_full: What a slow listener loses: its oldest messages, or the connection.
        history: Messages that are kept; one who has none of them has missed something.
        published: How many messages there were.
        dropped: How many were lost, counted for each listener.
        disconnected: How many listeners were cut off.

    Raises:
        ValueError: `max_queued` is below 1, or `history` below 0.
    """

    max_queued: int
    when_full: Literal["drop_oldest", "disconnect"]
    history: int = 100

    def __post_init__(self) -> None:
        if self.max_queued < 1 or self.history < 0:
            raise ValueError("max_queued must be at least 1, and history at least 0")
        self._kept: deque[Message[T]] = deque(maxlen=self.history)
        self._subscriptions: set[Subscription[T]] = set()
        self._origin = secrets.token_hex(4)  # another process has other ids
        self._end: Exception | None = None
        self.published = self.dropped = self.disconnected = 0

    def __len__(self) -> int:
        return len(self._subscriptions)

    def publish(self, data: T) -> None:
        """Hand a message to all who listen now, without waiting for any of them."""
        self.published += 1
        message = Message(f"{self._origin}-{self.published}", data)
        self._kept.append(message)
        for listener in list(self._subscriptions):
            is_full = len(listener._queue) >= listener._limit
            if is_full and self.when_full == "drop_oldest":
                listener._queue.popleft()
                listener.dropped += 1
                self.dropped += 1
            elif is_full:
                listener._end = SlowListener(f"{len(listener._queue)} messages were waiting")
                listener._queue.clear()  # it may hang in a send for long, and must not keep them
                self._subscriptions.discard(listener)
                self.disconnected += 1
            if listener._end is None:
                listener._queue.append(message)
            listener._changed.set()

    @contextmanager
    def subscribe(self, after: str | None = None) -> Iterator[Subscription[T]]:
        """Listen while the block runs.

        Args:
            after: The id of the last message that the listener has (`Last-Event-ID`); None begins now.

        Raises:
            Missed: That id is not known here, or no longer.
        """
        ids = [message.id for message in self._kept]
        if after is not None and after not in ids:
            raise Missed("the messages after this id are not kept")
        # Nothing is awaited before the place in the set: else a message would fall between the two.
        missed = list(self._kept)[ids.index(after) + 1 :] if after is not None else []
        subscription = Subscription(deque(missed), len(missed) + self.max_queued, self._end)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """Let every subscription end after what is queued: when the service drains."""
        self._end = StopAsyncIteration()
        for subscription in self._subscriptions:
            subscription._end = self._end
            subscription._changed.set()
