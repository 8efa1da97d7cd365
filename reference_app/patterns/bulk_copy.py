# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg>=0.30", "sqlalchemy[asyncio]>=2.1"]
# ///
"""Stream rows into PostgreSQL with COPY in flat memory, and report bad rows instead of dying of the first.

Use it for imports of thousands to millions of rows from a file or an upload: COPY takes them many times
faster than INSERT, but one bad row ends a plain COPY with nothing copied and one error to read.

Do not use it for a few rows, or where rows may exist already: copy into a temporary table, then INSERT from
it with ON CONFLICT.

Limits: finding a bad row repeats the COPY of its batch about twice, so a file that is mostly bad is slow
until `max_bad_rows` ends it. Of two rows with one key the first wins. Deferred constraints speak at COMMIT
and name no row. Values need the type of their column (asyncpg sends COPY in binary): let `rows` parse.

Instead: `COPY ... (ON_ERROR ignore)` of PostgreSQL 17 skips text that does not parse, logs it on the server,
and still stops at the first violated constraint. asyncpg's own `copy_records_to_table` is what this uses;
alone it drops values beyond the last column without a word.

It speaks asyncpg, because SQLAlchemy has no COPY; `driver_of` reaches it inside a session's transaction.

Example:
    >>> import asyncio, contextlib
    >>> class Connection:  # stands for an asyncpg connection and a table that takes no shares below zero
    ...     def transaction(self):
    ...         return contextlib.nullcontext()
    ...     async def copy_records_to_table(self, table, *, schema_name, columns, records):
    ...         if min(shares for _, shares in records) < 0:
    ...             raise ValueError
    >>> async def rows():
    ...     for row in [("AAPL", 5), ("MSFT", -1), ("IBM", 7)]:
    ...         yield row
    >>> copy = BulkCopy(Connection(), "positions", ["symbol", "shares"])
    >>> asyncio.run(copy.run(rows()))
    >>> copy.copied, copy.bad_rows
    (2, [BadRow(number=2, reason='ValueError')])

Source: PostgreSQL documentation, COPY; asyncpg documentation, `Connection.copy_records_to_table`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

Row = Sequence[Any]
#: What the values of a row can make asyncpg raise before anything is sent.
_UNENCODABLE = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
#: SQLSTATE classes of data, of constraints, and of triggers that RAISE; the rest is not about a row.
_ABOUT_A_ROW = {"22", "23", "P0"}


@dataclass(frozen=True)
class BadRow:
    """A row that was left out.

    Attributes:
        number: Its place in the source, from 1.
        reason: Why, without its values.
    """

    number: int
    reason: str


class TooManyBadRows(Exception):
    """More rows are bad than were allowed; nothing was copied, and `bad_rows` of the copy has them."""


async def driver_of(session: AsyncSession) -> asyncpg.Connection:
    """Return the asyncpg connection of a session, inside its transaction.

    What goes this way commits and rolls back with the session, and sees what the session has written.
    """
    await session.flush()
    raw = await (await session.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    if not driver.is_in_transaction():
        # SQLAlchemy sends BEGIN with its first statement. Without one, the copy would commit on its own.
        await session.execute(text("SELECT"))
    return driver


@dataclass
class BulkCopy:
    """One copy of rows into a table.

    Attributes:
        connection: A connection of asyncpg; that of a session comes from `driver_of`.
        table: The name of the table, unquoted: it is quoted here.
        columns: Their names, in the order of the values of each row.
        schema: Where the table is; None leaves that to the search path.
        batch_size: Rows in memory at a time, at least 1.
        max_bad_rows: How many rows may be left out; 0: all or nothing.
        copied: Rows so far; they count when `run` has returned.
        bad_rows: Rows so far that were left out.

    Raises:
        ValueError: There are no columns, or a number is out of its range.
    """

    connection: asyncpg.Connection
    table: str
    columns: Sequence[str]
    _: KW_ONLY
    schema: str | None = None
    batch_size: int = 5_000
    max_bad_rows: int = 100
    copied: int = field(default=0, init=False)
    bad_rows: list[BadRow] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not self.columns or self.batch_size < 1 or self.max_bad_rows < 0:
            raise ValueError("name columns, a batch_size of 1 or more, and max_bad_rows of 0 or more")

    async def run(self, rows: AsyncGenerator[Row | ValueError]) -> None:
        """Copy all rows that the table takes, in one transaction, or a savepoint of the one that is open.

        Args:
            rows: For a row that cannot be parsed it yields a ValueError that says why. Closed at the end.

        Raises:
            TooManyBadRows: Nothing was copied.
            Exception: What `rows` raised, or an error of PostgreSQL that is not about a row; nothing was
                copied.
        """
        batch: list[tuple[int, Row]] = []
        number = 0
        async with self.connection.transaction(), aclosing(rows):
            async for row in rows:
                number += 1
                if isinstance(row, ValueError):
                    self._leave_out(number, str(row))
                elif len(row) != len(self.columns):  # asyncpg would drop what is too much
                    self._leave_out(number, f"{len(row)} values for {len(self.columns)} columns")
                else:
                    batch.append((number, row))
                if len(batch) == self.batch_size:
                    await self._copy(batch)
                    batch = []
            if batch:
                await self._copy(batch)
        self.bad_rows.sort(key=lambda bad: bad.number)

    async def _copy(self, batch: list[tuple[int, Row]]) -> None:
        try:
            # A savepoint: a COPY that fails would else end the transaction, with all that was copied before.
            async with self.connection.transaction():
                await self.connection.copy_records_to_table(
                    self.table,
                    schema_name=self.schema,
                    columns=list(self.columns),
                    records=[row for _, row in batch],
                )
        except (asyncpg.PostgresError, *_UNENCODABLE) as error:
            if isinstance(error, asyncpg.PostgresError) and error.sqlstate[:2] not in _ABOUT_A_ROW:
                raise
            if len(batch) == 1:
                # Without the message, which quotes values.
                where = getattr(error, "constraint_name", None) or getattr(error, "column_name", None) or ""
                self._leave_out(batch[0][0], f"{type(error).__name__} {where}".strip())
                return
            # In order: of two rows with one key, the first is there when the second comes.
            middle = len(batch) // 2
            await self._copy(batch[:middle])
            await self._copy(batch[middle:])
        else:
            self.copied += len(batch)

    def _leave_out(self, number: int, reason: str) -> None:
        self.bad_rows.append(BadRow(number, reason))
        if len(self.bad_rows) > self.max_bad_rows:
            raise TooManyBadRows(f"more than {self.max_bad_rows} rows are bad; nothing was copied") from None
