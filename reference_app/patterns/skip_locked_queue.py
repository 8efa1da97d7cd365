# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg>=0.30", "sqlalchemy[asyncio]>=2.1"]
# ///
"""A job queue in a table: workers take different jobs, none is lost with its worker, none takes effect twice.

Use it for jobs that belong to rows of this database, up to some hundreds a second: a job is put with the row
it is about, in one transaction, and its effect commits together with its end.
Do not use it for events that keep an order (`outbox`), or for thousands of jobs a second (a broker).
Limits: a worker that dies keeps its job until `lease_s` is over. A handler may run again, so what it does
outside of its session may happen twice. After `max_tries` a job stays in the table as dead: alert on it, mend
it, set `tries` to 0. Order is roughly that of `not_before`. It polls: idle workers cost queries.
Instead: `procrastinate` and `pgqueuer` add LISTEN/NOTIFY, schedules, priorities and a command line. There a
job ends in a commit of its own, after that of its effect, so a crash in between repeats the effect; here both
are in one session, the service's own (hence SQLAlchemy).

Example:
    >>> class Session:  # stands for a session on a database with one job
    ...     begin = classmethod(lambda session: session())
    ...     async def __aenter__(self): return self
    ...     async def __aexit__(self, *error): pass
    ...     async def execute(self, statement, values): return self
    ...     def all(self): return [Job(id=1, payload="AAPL", tries=1, token=uuid.UUID(int=7))]
    >>> async def revalue(session, job): print("revalue", job.payload)
    >>> asyncio.run(JobQueue(Session).work_once(revalue))
    revalue AAPL
    True

Source: PostgreSQL documentation, SELECT, The Locking Clause; dstack, contributing/PIPELINES.md (the token).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

TABLE = """CREATE TABLE jobs (  -- for your migrations
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload text NOT NULL, tries int NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT now(), token uuid)"""
INDEX = "CREATE INDEX ON jobs (not_before)"

_PUT = text("INSERT INTO jobs (payload, not_before) VALUES (:payload, now() + :delay_s * interval '1 s')")
# MATERIALIZED: the planner could else run the subquery more than once, and take more jobs than LIMIT says.
_TAKE = text("""WITH free AS MATERIALIZED (SELECT id FROM jobs
        WHERE not_before <= statement_timestamp() AND tries < :max_tries
        ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE jobs SET tries = tries + 1, token = gen_random_uuid(),
        not_before = clock_timestamp() + :lease_s * interval '1 s'  -- free again then, should we die
    FROM free WHERE jobs.id = free.id RETURNING jobs.id, payload, tries, token""")
_END = text("DELETE FROM jobs WHERE id = :id AND token = :token RETURNING id")
_FREE = text("""UPDATE jobs SET token = NULL, tries = tries - :refund,
        not_before = clock_timestamp() + :wait_s * interval '1 s' WHERE id = :id AND token = :token""")
_COUNT = text("""SELECT count(*) FILTER (WHERE not_before <= now() AND tries < :max_tries) AS waiting,
    count(*) FILTER (WHERE not_before <= now() AND tries >= :max_tries) AS dead FROM jobs""")


class Job(NamedTuple):
    """A job that this worker holds; `tries` counts this run, `token` names it."""

    id: int
    payload: str
    tries: int
    token: uuid.UUID


#: Its writes in the session commit together with the end of the job.
Handler = Callable[[AsyncSession, Job], Awaitable[object]]


async def put(session: AsyncSession, payload: str, *, delay_s: float = 0.0) -> None:
    """Add a job in the caller's transaction: it exists if and only if that commits."""
    await session.execute(_PUT, {"payload": payload, "delay_s": delay_s})


class JobQueue:
    """Works on jobs. `done`, `failed` and `lost` (the lease was over) count runs by how they ended.

    Args:
        sessions: Makes units of work.
        handler_timeout_s: After this a handler is cancelled, and the job is tried again later.
        lease_s: For how long a job is nobody else's, should the worker die.
        max_tries: After so many runs that failed, or died, a job is dead.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        *,
        handler_timeout_s: float = 50.0,
        lease_s: float = 60.0,
        max_tries: int = 5,
    ) -> None:
        if not 0 < handler_timeout_s < lease_s:
            raise ValueError("handler_timeout_s must be above 0 and below lease_s")
        self.done = self.failed = self.lost = 0
        self._sessions, self._handler_timeout_s = sessions, handler_timeout_s
        self._taking = {"lease_s": lease_s, "max_tries": max_tries}

    async def work(self, handler: Handler, *, poll_interval_s: float = 1.0) -> None:
        """Work until cancelled."""
        while True:
            try:
                if await self.work_once(handler):
                    continue
            except Exception:  # the database restarts, for one
                logging.getLogger(__name__).exception("a worker could not take or end a job")
            await asyncio.sleep(poll_interval_s)

    async def work_once(self, handler: Handler) -> bool:
        """Take a job and run the handler on it; return whether there was one."""
        async with self._sessions.begin() as session:
            rows = (await session.execute(_TAKE, self._taking)).all()
        if not rows:
            return False
        job = Job(*rows[0])
        try:
            async with self._sessions.begin() as session:
                async with asyncio.timeout(self._handler_timeout_s):
                    await handler(session, job)
                # Without the token, a worker that was too slow would end the run of its successor.
                if not (await session.execute(_END, job._asdict())).all():
                    self.lost += 1
                    await session.rollback()
                    return True
            self.done += 1
        except asyncio.CancelledError:
            with suppress(Exception):  # a deployment is no failure: free at once, and not counted
                await asyncio.shield(self._free(job, wait_s=0, refund=1))
            raise
        except Exception:
            self.failed += 1
            logging.getLogger(__name__).warning("job %s failed, run %s", job.id, job.tries, exc_info=True)
            await self._free(job, wait_s=min(2.0 ** min(job.tries - 1, 30), 300), refund=0)
        return True

    async def counts(self) -> dict[str, int]:
        """Return how many jobs are `waiting`, and how many are `dead`: the number to alert on."""
        async with self._sessions.begin() as session:
            return dict((await session.execute(_COUNT, self._taking)).mappings().one())

    async def _free(self, job: Job, *, wait_s: float, refund: int) -> None:
        async with self._sessions.begin() as session:
            await session.execute(_FREE, {**job._asdict(), "wait_s": wait_s, "refund": refund})
