# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg>=0.30", "sqlalchemy[asyncio]>=2.1"]
# ///
"""Lock a name until the transaction ends, across all processes of one database, where no row is to be locked.

Use it where the rule is about rows that do not exist yet ("at most three watchlists a user", "one import of
this file at a time"): SELECT FOR UPDATE finds nothing to lock, and two transactions both count two.

Do not use it where a row, a unique constraint or EXCLUDE can say the rule: those bind every writer.

Limits: it binds those who ask for the same name in the same database. It ends with the transaction, never
later: for work that outlives one use `fencing_lock`. Take it before the first read, under READ COMMITTED; the
snapshot of a REPEATABLE READ transaction may be older than the lock. After LockTimeout the transaction can
only be rolled back. Without a transaction (isolation level AUTOCOMMIT) it ends with its own statement.

Instead: `sqlalchemy-dlock` has one API for five databases. On PostgreSQL it locks for the session unless told
`xact=True`: that survives COMMIT, goes back into the pool with its connection, and breaks behind pgbouncer.
Its timeout asks once a second instead of standing in PostgreSQL's queue.

It speaks SQLAlchemy, because the lock must live in the very transaction that it guards, which is the
service's session.

Example:
    >>> import asyncio
    >>> class Session:  # stands for an AsyncSession on a database where somebody else has locked the name
    ...     async def scalar(self, statement, values):
    ...         return False
    >>> locks = AdvisoryLocks("watchlists")
    >>> asyncio.run(locks.try_take(Session(), "user 7")), locks.refused
    (False, 1)

Source: PostgreSQL documentation, sections 13.3.5 (Advisory Locks) and 19.11 (lock_timeout).
"""

from __future__ import annotations

import hashlib

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

_LOCK = text("SELECT pg_advisory_xact_lock(:lock_id)")
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:lock_id)")
# MATERIALIZED: the old value is read before the new one is set.
_SET_TIMEOUT = text("""
WITH old AS MATERIALIZED (SELECT current_setting('lock_timeout') AS value)
SELECT value, set_config('lock_timeout', :value, true) FROM old
""")

#: SQLSTATE lock_not_available.
_LOCK_NOT_AVAILABLE = "55P03"


class LockTimeout(Exception):
    """Others held the name for too long. Roll back; answer 503 or 409."""


class AdvisoryLocks:
    """Locks on names of one kind.

    Args:
        namespace: Keeps the same name for another purpose apart.
        wait_s: How long `take` waits for each name, in seconds: 0.001 to 2,147,483 (24 days).

    Attributes:
        taken: How many names were locked.
        refused: How many names `try_take` found locked.
        timed_out: How many calls of `take` waited in vain.

    Raises:
        ValueError: `wait_s` is out of its range; PostgreSQL would take 0 for "for ever".
    """

    def __init__(self, namespace: str, *, wait_s: float = 5.0) -> None:
        if not 0.001 <= wait_s <= 2_147_483:
            raise ValueError("wait_s must be 0.001 to 2147483")
        self.taken = self.refused = self.timed_out = 0
        self._namespace = namespace
        self._wait_ms = str(int(wait_s * 1000))

    def lock_id(self, name: str) -> int:
        """Return the number that PostgreSQL knows the name by, as in the view `pg_locks`.

        Two names with one number (in 2**64) would wait for each other, and nothing worse. Not `hash(name)`:
        it differs from process to process, and two processes would lock different numbers.
        """
        # With the length of the namespace: ("a", "bc") and ("ab", "c") are two names.
        digest = hashlib.sha256(f"{len(self._namespace)} {self._namespace}{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    async def take(self, session: AsyncSession, *names: str) -> None:
        """Wait for the names and lock them until the transaction of the session ends.

        Args:
            session: The unit of work to guard; it has not read yet what the lock is about.
            names: All that it needs: locks taken in several calls can deadlock.

        Raises:
            LockTimeout: Somebody holds one of them for longer than `wait_s`.
        """
        before = await session.scalar(_SET_TIMEOUT, {"value": self._wait_ms})
        # In one order: else A, B and B, A each get one and wait for the other, until PostgreSQL kills one.
        for lock_id in sorted({self.lock_id(name) for name in names}):
            try:
                await session.execute(_LOCK, {"lock_id": lock_id})
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                    raise
                self.timed_out += 1
                raise LockTimeout(f"locked by others for {self._wait_ms} ms ({self._namespace})") from error
            self.taken += 1
        await session.scalar(_SET_TIMEOUT, {"value": before})

    async def try_take(self, session: AsyncSession, name: str) -> bool:
        """Lock the name until the transaction ends if nobody has it; return whether it is ours now."""
        is_ours = bool(await session.scalar(_TRY_LOCK, {"lock_id": self.lock_id(name)}))
        if is_ours:
            self.taken += 1
        else:
            self.refused += 1
        return is_ours
