# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg>=0.30", "sqlalchemy[asyncio]>=2.1"]
# ///
"""Run a unit of work SERIALIZABLE, and once more each time PostgreSQL says that its order cannot be kept.

Use it where a rule spans rows that the transaction only reads ("one doctor stays on call", "the sum of these
positions is below the limit"): no row lock and no atomic UPDATE guards what is not written. SERIALIZABLE
guards all of it, at a price: PostgreSQL ends transactions with SQLSTATE 40001 and expects them to be run
again, from their first read.

Do not use it where one row tells all: an atomic UPDATE or `optimistic_version` never fails for no reason.

Limits: it protects only against other SERIALIZABLE transactions. The work runs several times, so it must do
nothing but SQL in its session: no mail, no HTTP call, no change of objects that live on. A connection that is
lost during COMMIT is not retried, because nobody knows whether it committed; `idempotency_key` is for that.
Many writers of the same rows spend their time on retries: watch `conflicts`. The pool needs a free connection
per try, none while waiting.

Instead: `stamina` or `tenacity` retry any function and have more ways to wait. With them you open the session
inside the function, set the isolation level, and recognise 40001 under SQLAlchemy's wrapper, yourself;
stamina's defaults (0.1 s and up to 1 s of jitter) are made for networks, a conflict is over in milliseconds.

It speaks SQLAlchemy, because its sessions are what a FastAPI service has at hand; tested with asyncpg.

Example:
    >>> class Conflict(Exception):
    ...     sqlstate = "40001"
    >>> class Session:  # stands for an AsyncSession
    ...     async def __aenter__(self):
    ...         return self
    ...     async def __aexit__(self, *error):
    ...         pass
    ...     async def connection(self, execution_options):
    ...         pass
    ...     async def execute(self, statement):
    ...         pass
    ...     async def commit(self):
    ...         pass
    >>> retry, runs = SerializableRetry(Session, first_wait_s=0.001), []
    >>> async def work(session):
    ...     runs.append(session)
    ...     if len(runs) < 3:
    ...         raise Conflict
    ...     return "booked"
    >>> asyncio.run(retry(work)), retry.conflicts
    ('booked', 2)

Source: PostgreSQL documentation, sections 13.2.3 and 13.5 (Serialization Failure Handling); M. Brooker,
"Exponential Backoff And Jitter", for the random wait.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

Result = TypeVar("Result")

#: serialization_failure and deadlock_detected: the transaction had no effect and may succeed next time.
RETRYABLE = frozenset({"40001", "40P01"})


class RetriesExhausted(Exception):
    """Every try met a conflict; nothing was committed. Its cause is the last error. Answer 503 or 409."""


class SerializableRetry:
    """Runs units of work in SERIALIZABLE transactions; one instance serves a whole process.

    Args:
        sessions: Makes a session for each try.
        max_tries: How often the work is run at most, the first time included.
        first_wait_s: Upper bound of the random wait before the second try; it doubles with each try.
        longest_wait_s: Where the doubling ends.
        retryable: SQLSTATEs to run again after. Add "23505" where the work picks a key that it found unused.
        sleep: Waits for so many seconds.

    Attributes:
        commits: Units of work that were committed.
        conflicts: Tries that PostgreSQL ended for their order. Where they are more than a few in a hundred,
            the work should be thought over.
        exhausted: Units of work that were given up.

    Raises:
        ValueError: `max_tries` is below 1, or a wait is negative.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        *,
        max_tries: int = 6,
        first_wait_s: float = 0.01,
        longest_wait_s: float = 0.5,
        retryable: Collection[str] = RETRYABLE,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if max_tries < 1 or first_wait_s < 0 or longest_wait_s < 0:
            raise ValueError("max_tries must be at least 1 and waits at least 0 seconds.")
        self.commits = self.conflicts = self.exhausted = 0
        self._sessions = sessions
        self._max_tries = max_tries
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._retryable = frozenset(retryable)
        self._sleep = sleep

    async def __call__(self, work: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
        """Run the work and commit; return what it returned, which is then true.

        Args:
            work: Reads and writes in the session that it is given, and neither commits nor rolls back. It
                must let errors of the database through, or catch them around `session.begin_nested()`.

        Raises:
            RetriesExhausted: `max_tries` tries met a conflict.
            Exception: Whatever else the work or the database raises, at once.
        """
        for attempt in range(self._max_tries):
            if attempt:
                # Outside of the session: a waiting unit of work holds no connection.
                bound_s = min(self._longest_wait_s, self._first_wait_s * 2.0 ** min(attempt - 1, 30))
                await self._sleep(random.uniform(0, bound_s))  # noqa: S311
            try:
                return await self._once(work)
            except Exception as error:
                # SQLAlchemy wraps the driver's error; one from `bulk_copy` comes bare.
                if getattr(getattr(error, "orig", error), "sqlstate", None) not in self._retryable:
                    raise
                self.conflicts += 1
                last = error
        self.exhausted += 1
        raise RetriesExhausted(f"{self._max_tries} tries met a conflict") from last

    async def _once(self, work: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
        async with self._sessions() as session:
            await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            result = await work(session)
            # PostgreSQL answers COMMIT of a failed transaction with ROLLBACK and no driver raises. Without
            # this a work that swallowed an error would be reported as committed; on a failed one this raises.
            await session.execute(text("SELECT"))
            await session.commit()  # may conflict too: reads alone can be what breaks the order
        self.commits += 1
        return result
