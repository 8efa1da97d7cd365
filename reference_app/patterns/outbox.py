# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg>=0.30", "sqlalchemy[asyncio]>=2.1"]
# ///
"""Write the event with the row in one transaction; a relay publishes it afterwards, at least once, in order.

Use it where a change in the database must be told to others: a broker, a webhook, a mail. Publishing after
the commit loses the event when the process dies in between; before it, it tells of things that never were.

Do not use it for events that may be lost (`NOTIFY` is cheaper), or where the reader has the same database.

Limits: an event may be published twice (a crash after publishing), with the same id: consumers remember ids.
Order holds within a key. `add` locks the key until the writer commits: call it once, at the end of the
transaction. An event that fails keeps those of its key behind it and is tried for ever: alert on `lag_s`. One
event of a key goes out per round, and a long backlog of one key makes rounds slower. It polls: no LISTEN.

Instead: Debezium reads the write-ahead log: no polling and no lock, but Kafka Connect to run. `pgqueuer` and
`procrastinate` enqueue jobs in your transaction; order within a key is nobody's promise there, or (`lock` of
procrastinate) that of ids, not of commits.

It speaks SQLAlchemy, because an event belongs into the session of its row.

Example:
    >>> from types import SimpleNamespace
    >>> class Session:  # stands for a session on a database with one event
    ...     async def __aenter__(self):
    ...         return self
    ...     async def __aexit__(self, *error):
    ...         pass
    ...     async def execute(self, statement, values):
    ...         return self
    ...     def all(self):
    ...         return [SimpleNamespace(id=1, **vars(Event("AAPL", "placed", "{}")))]
    >>> async def publish(event):
    ...     print(event.topic, event.key, event.payload)
    >>> asyncio.run(Relay(SimpleNamespace(begin=Session), publish).run_once())
    placed AAPL {}
    1

Source: C. Richardson, microservices.io, Transactional outbox; PostgreSQL documentation, SELECT (SKIP LOCKED)
and section 9.17: ids are given before the commit, so their order alone is not the order of commits.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

#: Your migrations create this table and this index.
TABLE = """CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL, key text NOT NULL,
    topic text NOT NULL, payload text NOT NULL, tries int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(), not_before timestamptz NOT NULL DEFAULT now())"""
INDEX = "CREATE INDEX ON outbox (key, id)"

_LOCK = text("SELECT pg_advisory_xact_lock(:lock_id)")
# One round trip takes the lock and inserts: the lock must yield its row before the INSERT takes an id.
_ADD = text("""WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(:lock_id))
INSERT INTO outbox (event_id, key, topic, payload) SELECT :event_id, :key, :topic, :payload FROM turn""")
# Only the first event of each key: with any other, two relays could overtake each other within a key.
_TAKE = text("""SELECT * FROM outbox o WHERE not_before <= statement_timestamp()
    AND NOT EXISTS (SELECT FROM outbox earlier WHERE earlier.key = o.key AND earlier.id < o.id)
ORDER BY id LIMIT :limit FOR UPDATE OF o SKIP LOCKED""")
_DONE = text("DELETE FROM outbox WHERE id = :id")
# Each failure doubles the wait, up to five minutes.
_LATER = text("""UPDATE outbox SET tries = tries + 1,
    not_before = clock_timestamp() + make_interval(secs => least(2 ^ least(tries, 30), 300))
WHERE id = :id""")
_LAG = text("SELECT extract(epoch FROM clock_timestamp() - min(created_at)) FROM outbox")


@dataclass(frozen=True)
class Event:
    """What happened.

    Attributes:
        key: Within a key, events are published in the order of their commits.
        topic: What kind of event it is, for the receiver.
        payload: What there is to tell, as text.
        event_id: By this a consumer knows an event that it gets twice.
    """

    key: str
    topic: str
    payload: str
    event_id: uuid.UUID = field(default_factory=uuid.uuid4)


async def add(session: AsyncSession, *events: Event) -> None:
    """Write events, in the order in which they happened: they exist if and only if the caller commits."""
    # Without the lock, a transaction with the smaller id could commit after one with the larger id was
    # published. In one order, or two transactions with two keys wait for each other.
    lock_ids = {event.key: _lock_id(event.key) for event in events}
    if len(lock_ids) > 1:  # with one key, the INSERT takes the lock itself
        for lock_id in sorted(lock_ids.values()):
            await session.execute(_LOCK, {"lock_id": lock_id})
    for event in events:
        await session.execute(_ADD, {**vars(event), "lock_id": lock_ids[event.key]})


def _lock_id(key: str) -> int:
    return int.from_bytes(hashlib.sha256(b"outbox " + key.encode()).digest()[:8], "big", signed=True)


class Relay:
    """Publishes events; any number of relays may run.

    Args:
        sessions: Makes the unit of work of a round.
        publish: Returns when the event is safe with its receiver, or raises.
        batch_size: Events of a round, at least 1. They are published at the same time, each of another key.
        publish_timeout_s: Bounds `publish`, and so the transaction of a round; above 0.

    Attributes:
        published: How many calls of `publish` succeeded.
        failures: How many failed.

    Raises:
        ValueError: With such a number, nothing would ever be published.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        publish: Callable[[Event], Awaitable[object]],
        *,
        batch_size: int = 20,
        publish_timeout_s: float = 10.0,
    ) -> None:
        if batch_size < 1 or not publish_timeout_s > 0:
            raise ValueError("batch_size must be at least 1, and publish_timeout_s above 0")
        self.published = self.failures = 0
        self._sessions = sessions
        self._publish = publish
        self._batch_size = batch_size
        self._publish_timeout_s = publish_timeout_s

    async def run(self, *, poll_interval_s: float = 0.5) -> None:
        """Publish until cancelled; what was in flight then goes out once more later."""
        while True:
            try:
                if await self.run_once():
                    continue
            except Exception:  # the database may be restarting
                logging.getLogger(__name__).exception("a round of the outbox relay failed")
            await asyncio.sleep(poll_interval_s)

    async def run_once(self) -> int:
        """Publish the events that are first of their key, at most a batch; return how many succeeded."""
        async with self._sessions.begin() as session:
            rows = (await session.execute(_TAKE, {"limit": self._batch_size})).all()
            async with asyncio.TaskGroup() as group:
                tasks = {row.id: group.create_task(self._try(row)) for row in rows}
            done: list[dict[str, int]] = []
            later: list[dict[str, int]] = []
            for id_, task in tasks.items():
                (done if task.result() else later).append({"id": id_})
            if done:
                await session.execute(_DONE, done)
            if later:
                await session.execute(_LATER, later)
        return len(done)

    async def lag_s(self) -> float:
        """Return for how many seconds the oldest event has been waiting: the number to alert on."""
        async with self._sessions() as session:
            return float(await session.scalar(_LAG) or 0)

    async def _try(self, row: Any) -> bool:
        try:
            async with asyncio.timeout(self._publish_timeout_s):
                await self._publish(Event(row.key, row.topic, row.payload, row.event_id))
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # else a driver has cancelled itself, and that is a failure like any other
            self.failures += 1
            logging.getLogger(__name__).warning("event %s failed", row.event_id, exc_info=True)
            return False
        self.published += 1
        return True
