# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg>=0.30", "sqlalchemy[asyncio]>=2.1"]
# ///
"""Change a row only if it is still the version that was read, and count it up in the same statement.

Use it where somebody reads, thinks and writes back later: a form, a PUT with If-Match, a decision in Python.
No lock is held while they think; the second of two writers is told that the row has changed. For HTTP pass
the version on as ETag and If-Match with `conditional_request`.

Do not use it where SQL can say the change itself (`SET balance = balance - 5 WHERE balance >= 5`): that never
conflicts. Not where many writers meet in one row all day: they repeat their work, a row lock queues them.

Limits: it guards one row, not a rule over rows (`serializable_retry` does). Every writer must go through it;
an UPDATE elsewhere that leaves the version alone is not seen (a trigger can count for those). Do not also
assign to attributes of the loaded object: the session would flush that without the check. Under REPEATABLE
READ and SERIALIZABLE, PostgreSQL reports the conflict in its own way, as SQLSTATE 40001.

Instead: SQLAlchemy's own `version_id_col` does this for every flush of a mapped class, and is right when load
and write happen in one session. It compares with the version that the session loaded, not with one that a
client sent; StaleDataError does not tell a deleted row from a changed one; `update()` statements go past it.

It uses SQLAlchemy Core in the caller's session, so that the change commits with the rest of the unit of work.

Example:
    >>> import asyncio
    >>> from sqlalchemy import Column, Integer, MetaData, Text
    >>> notes = Table("notes", MetaData(), *(Column(name, Integer) for name in ("id", "stars", "version")))
    >>> class Session:  # stands for an AsyncSession: UPDATE finds no row of version 7, SELECT says why
    ...     answers = [None, 8]
    ...     async def scalar(self, statement):
    ...         return self.answers.pop(0)
    >>> changed = OptimisticVersion(notes).update(Session(), key=1, expected_version=7, values={"stars": 5})
    >>> try:
    ...     asyncio.run(changed)
    ... except VersionConflict as conflict:
    ...     print(conflict)
    expected version 7, but the row has version 8

Source: M. Fowler, "Patterns of Enterprise Application Architecture", Optimistic Offline Lock; PostgreSQL
documentation, section 13.2.1: an UPDATE that waited for another one looks at its WHERE again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Row, Table, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


class VersionConflict(Exception):
    """The row is no longer the version that was expected; nothing was written. Answer 412 or 409.

    Attributes:
        expected: The version that the writer had read; None: any.
        actual: The version now; None: there is no such row (any more).
    """

    def __init__(self, expected: int | None, actual: int | None) -> None:
        now = "there is no such row" if actual is None else f"the row has version {actual}"
        super().__init__(now if expected is None else f"expected version {expected}, but {now}")
        self.expected = expected
        self.actual = actual


class OptimisticVersion:
    """Writes to one table under its version column.

    Args:
        table: Has an integer version column, never NULL. Of a mapped class: `inspect(cls).local_table`.
        key: Name of the column that identifies a row.
        version: Name of the version column.

    Attributes:
        writes: Changes that went through (before the caller's commit).
        conflicts: Changes that were refused because the row was another version.
    """

    def __init__(self, table: Table, *, key: str = "id", version: str = "version") -> None:
        self.writes = self.conflicts = 0
        self._table = table
        self._key = table.c[key]
        self._version = table.c[version]

    async def update(
        self, session: AsyncSession, *, key: Any, expected_version: int, values: Mapping[str, Any]
    ) -> int:
        """Change a row of a known version; return its new version.

        Args:
            session: The caller's unit of work. The row stays locked until it ends, so commit soon.
            key: The value of the key column in the row.
            expected_version: What the writer read.
            values: Columns to set; a version among them is ignored.

        Raises:
            VersionConflict: The row has another version, or is gone.
        """
        # One statement compares and writes. A SELECT before it would be a check that others can overtake.
        statement = update(self._table).values({**values, self._version.name: self._version + 1})
        return await self._write(session, statement, key, expected_version)

    async def delete(self, session: AsyncSession, *, key: Any, expected_version: int) -> None:
        """Delete a row of a known version; parameters and errors as for `update`."""
        await self._write(session, delete(self._table), key, expected_version)

    async def modify(
        self,
        sessions: async_sessionmaker[AsyncSession],
        *,
        key: Any,
        change: Callable[[Row[Any]], Mapping[str, Any]],
        max_tries: int = 5,
    ) -> int:
        """Read a row, let a function decide, write if nobody did in between, else start over; commit.

        Args:
            sessions: Makes a unit of work for each try.
            key: The value of the key column in the row.
            change: Gets the row, returns the columns to set. It may run again, so it does nothing else.
            max_tries: How often at most. Of the writers that meet, one gets through each time.

        Raises:
            VersionConflict: The row is gone, or was another one at each try.
            ValueError: `max_tries` is below 1.
        """
        for tries_left in reversed(range(max_tries)):
            async with sessions.begin() as session:
                row = (await session.execute(select(self._table).where(self._key == key))).one_or_none()
                if row is None:
                    raise VersionConflict(None, None)
                expected = row._mapping[self._version]
                try:
                    return await self.update(session, key=key, expected_version=expected, values=change(row))
                except VersionConflict:
                    if not tries_left:
                        raise
        raise ValueError("max_tries must be at least 1")

    async def _write(self, session: AsyncSession, statement: Any, key: Any, expected: int) -> int:
        same = (self._key == key, self._version == expected)
        version: int | None = await session.scalar(statement.where(*same).returning(self._version))
        if version is None:  # no row matched: no error to SQL, and the whole point here
            self.conflicts += 1
            actual = await session.scalar(select(self._version).where(self._key == key))
            raise VersionConflict(expected, actual)
        self.writes += 1
        return version
