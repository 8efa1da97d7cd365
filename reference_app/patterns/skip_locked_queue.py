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
are in one session, the service's own.

It speaks SQLAlchemy, because that session is what a service has at hand.

Example:
    >>> class Session:  # stands for a session on a database with one job
    ...     begin = classmethod(lambda session: session())
    ...     async def __aenter__(self):
    ...         return self
    ...     async def __aexit__(self, *error):
    ...         pass
    ...     async def execute(self, statement, values):
    ...         return self
    ...     def all(self):
    ...         return [Job(id=1, payload="AAPL", tries=1, token=uuid.UUID(int=7))]
    >>> async def revalue(session, job):
    ...     print("revalue", job.payload)
    >>> asyncio.run(JobQueue(Session).work_once(revalue))
    revalue AAPL
    True

Source: PostgreSQL documentation, SELECT, The Locking Clause; dstack, contributing/PIPELINES.md (the token).
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

#: Your migrations create this table and this index. If you rename it, pass `table` everywhere.
TABLE = """CREATE TABLE queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload text NOT NULL, tries int NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT now(), token uuid)"""
INDEX = "CREATE INDEX ON queue (not_before)"
MAX_LEASE_S = 366 * 86_400.0

_PUT = "INSERT INTO {table} (payload, not_before) VALUES (:payload, now() + :delay_s * interval '1 s')"
# MATERIALIZED: the planner could else run the subquery more than once, and take more jobs than LIMIT says.
# The time is that at which the job is free again, should this worker die.
_TAKE = """WITH free AS MATERIALIZED (
    SELECT id FROM {table} WHERE not_before <= statement_timestamp() AND tries < :max_tries
    ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED)
UPDATE {table} AS job SET tries = tries + 1, token = gen_random_uuid(),
    not_before = clock_timestamp() + :lease_s * interval '1 s'
FROM free WHERE job.id = free.id RETURNING job.id, payload, tries, token"""
_END = "DELETE FROM {table} WHERE id = :id AND token = :token RETURNING id"
_FREE = """UPDATE {table} SET token = NULL, tries = tries - :refund,
    not_before = clock_timestamp() + :wait_s * interval '1 s'
WHERE id = :id AND token = :token"""
_COUNT = """SELECT count(*) FILTER (WHERE not_before <= now() AND tries < :max_tries) AS waiting,
    count(*) FILTER (WHERE not_before <= now() AND tries >= :max_tries) AS dead
FROM {table}"""


class Job(NamedTuple):
    """A job that this worker holds.

    Attributes:
        id: The number of its row.
        payload: What was put.
        tries: How often it was taken, this time included.
        token: Names this run of it.
    """

    id: int
    payload: str
    tries: int
    token: uuid.UUID


#: Its writes in the session commit together with the end of the job.
Handler = Callable[[AsyncSession, Job], Awaitable[object]]


async def put(session: AsyncSession, payload: str, *, delay_s: float = 0.0, table: str = "queue") -> None:
    """Add a job in the caller's transaction: it exists if and only if that commits.

    Args:
        session: The caller's unit of work.
        payload: What the job is about.
        delay_s: Seconds after which it may be taken.
        table: The name of the queue's table.

    Raises:
        ValueError: `table` is no name of a table.
    """
    await session.execute(_on(table, _PUT), {"payload": payload, "delay_s": delay_s})


def _on(table: str, statement: str) -> TextClause:
    """Return the statement for a table; a name cannot be a parameter, so it is checked and quoted."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", table, re.ASCII) is None:
        raise ValueError("table must be a name such as queue or desk.queue, of lower-case letters")
    return text(statement.format(table='"' + table.replace(".", '"."') + '"'))


class JobQueue:
    """Works on jobs.

    Args:
        sessions: Makes units of work.
        handler_timeout_s: After this a handler is cancelled, and the job is tried again later.
        lease_s: For how long a job is nobody else's, should the worker die; a year at most.
        max_tries: After so many runs that failed, or died, a job is dead; at least 1.
        table: The name of the queue's table.

    Attributes:
        done: How many runs ended well.
        failed: How many ended with an error.
        lost: How many were too slow: their lease was over, and another had the job.

    Raises:
        ValueError: A number is out of its range, or `table` is no name of a table.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        *,
        handler_timeout_s: float = 50.0,
        lease_s: float = 60.0,
        max_tries: int = 5,
        table: str = "queue",
    ) -> None:
        if not 0 < handler_timeout_s < lease_s <= MAX_LEASE_S or max_tries < 1:
            raise ValueError("handler_timeout_s must be above 0 and below lease_s, and max_tries at least 1")
        self.done = self.failed = self.lost = 0
        self._sessions = sessions
        self._handler_timeout_s = handler_timeout_s
        self._taking = {"lease_s": lease_s, "max_tries": max_tries}
        self._take = _on(table, _TAKE)
        self._end = _on(table, _END)
        self._free = _on(table, _FREE)
        self._count = _on(table, _COUNT)

    async def work(self, handler: Handler, *, poll_interval_s: float = 1.0) -> None:
        """Work until cancelled."""
        while True:
            try:
                if await self.work_once(handler):
                    continue
            except Exception:  # the database may be restarting
                logging.getLogger(__name__).exception("a worker could not take or end a job")
            await asyncio.sleep(poll_interval_s)

    async def work_once(self, handler: Handler) -> bool:
        """Take a job and run the handler on it; return whether there was one."""
        async with self._sessions.begin() as session:
            rows = (await session.execute(self._take, self._taking)).all()
        if not rows:
            return False
        job = Job(*rows[0])
        try:
            async with self._sessions.begin() as session:
                async with asyncio.timeout(self._handler_timeout_s):
                    await handler(session, job)
                # Without the token, a worker that was too slow would end the run of its successor.
                if not (await session.execute(self._end, job._asdict())).all():
                    self.lost += 1
                    await session.rollback()
                    return True
            self.done += 1
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            # Else a driver has cancelled itself: a failure like any other, which must not end the worker.
            if task is not None and task.cancelling():
                with suppress(Exception):  # a deployment is no failure: free at once, and not counted
                    await asyncio.shield(self._give_back(job, wait_s=0, refund=1))
                raise asyncio.CancelledError from error  # whatever the handler has made of it
            self.failed += 1
            logging.getLogger(__name__).warning("job %s failed, run %s", job.id, job.tries, exc_info=True)
            await self._give_back(job, wait_s=min(2.0 ** min(job.tries - 1, 30), 300), refund=0)
        return True

    async def counts(self) -> dict[str, int]:
        """Return how many jobs are `waiting`, and how many are `dead`: the number to alert on."""
        async with self._sessions.begin() as session:
            return dict((await session.execute(self._count, self._taking)).mappings().one())

    async def _give_back(self, job: Job, *, wait_s: float, refund: int) -> None:
        async with self._sessions.begin() as session:
            await session.execute(self._free, {**job._asdict(), "wait_s": wait_s, "refund": refund})
