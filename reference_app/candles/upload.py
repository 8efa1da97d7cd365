"""Candles of an upload, through a temporary table: blocks without a fault go as they are, others row by row.

Where the time went when each row became a record first: 20 microseconds of Python (match, make decimals,
encode them for COPY), and 20 of PostgreSQL, more than half of it for the foreign key (migration 0011). Now a
block of some thousand lines is matched by one pattern and sent as text; PostgreSQL reads it, which it would
have to do anyway, and its constraints look at what a pattern cannot see: 2 microseconds of Python a row.

Only where a block does not match, or PostgreSQL refuses it, each of its rows is read by Python, which knows
what to say about it. A file becomes slower with each of its blocks that has a bad row.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

import asyncpg

from reference_app.candles.lines import COLUMNS, LINE_FORMATS, read_candle
from reference_app.candles.models import CandleFormat, CandleRecord
from reference_app.candles.problems import ImportRejected
from reference_app.patterns.bulk_copy import BadRow, BulkCopy, TooManyBadRows

SAVE_TIMEOUT_S = 300.0
BATCH_SIZE = 2000
#: When so many rows have changed, PostgreSQL is told to count the table again at once. By itself it does so
#: up to a minute later; until then it plans with the old sizes, and an export of a million rows took 6 times
#: as long.
ANALYZE_FROM_ROWS = 10_000

# The primary key finds the second of two rows of a day. COLLATE "C" compares bytes, which is
# faster than the rules of a language. The check says what `candles` says too, while the block is at hand.
CREATE = """
CREATE TEMPORARY TABLE candle_import (
    symbol text COLLATE "C", date date, open numeric, high numeric, low numeric, close numeric,
    volume bigint, adjusted_close numeric,
    PRIMARY KEY (symbol, date),
    CONSTRAINT candles_range_check CHECK
        (low > 0 AND low <= least(open, close) AND high >= greatest(open, close) AND adjusted_close > 0)
) ON COMMIT DROP
"""

# COPY cannot say "on conflict", so one INSERT takes over what differs.
TAKE_OVER = """
INSERT INTO candles (instrument_id, date, open, high, low, close, volume, adjusted_close)
SELECT i.id, r.date, r.open, r.high, r.low, r.close, r.volume, r.adjusted_close
FROM candle_import r JOIN instruments i USING (symbol)
ON CONFLICT (instrument_id, date) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    volume = excluded.volume, adjusted_close = excluded.adjusted_close
WHERE (candles.open, candles.high, candles.low, candles.close, candles.volume, candles.adjusted_close)
    IS DISTINCT FROM
    (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.adjusted_close)
"""


async def create_import(driver: asyncpg.Connection) -> None:
    """Create the temporary table, for the length of the open transaction."""
    # For this transaction: the taking over of a million rows is one statement.
    await driver.execute(f"SET LOCAL statement_timeout = '{SAVE_TIMEOUT_S:.0f}s'")
    await driver.execute(CREATE)


async def take_over(driver: asyncpg.Connection) -> tuple[int, list[str]]:
    """Insert or correct candles, and return how many were new or differed, and the symbols that came."""
    status = await driver.execute(TAKE_OVER, timeout=SAVE_TIMEOUT_S)  # "INSERT 0 12154"
    changed = int(status.split()[-1])
    if changed >= ANALYZE_FROM_ROWS:
        # A VACUUM that is under way must not make a whole import fail: then this look is left out.
        await driver.execute("ANALYZE (SKIP_LOCKED) candles", timeout=SAVE_TIMEOUT_S)
    symbols = await driver.fetch("SELECT DISTINCT symbol FROM candle_import")
    return changed, [row["symbol"] for row in symbols]


def copy_of_records(driver: asyncpg.Connection, max_bad_rows: int) -> BulkCopy:
    """Return the copy of records into the temporary table; of two of the same day the first one counts."""
    return BulkCopy(driver, "candle_import", COLUMNS, batch_size=BATCH_SIZE, max_bad_rows=max_bad_rows)


class CandleUpload:
    """Copies the blocks of one upload into the temporary table.

    Args:
        driver: A connection in a transaction, after `create_import`.
        format: How the lines are written.
        symbols: The symbols of all instruments; a row with another one is bad.
        max_bad_rows: How many rows may be left out.

    Attributes:
        rows: How many lines were read so far.
        bad_rows: The rows that were left out.
    """

    def __init__(
        self, driver: asyncpg.Connection, format: CandleFormat, symbols: Collection[str], max_bad_rows: int
    ) -> None:
        self._driver, self._max_bad_rows = driver, max_bad_rows
        self._format = LINE_FORMATS[format]
        self._symbols = frozenset(symbols)
        self._symbol_bytes = {symbol.encode() for symbol in symbols}
        self.rows = 0
        self.bad_rows: list[BadRow] = []

    async def copy(self, blocks: AsyncGenerator[bytes]) -> None:
        """Copy all candles.

        Args:
            blocks: Whole lines, from `split_blocks`; they are closed at the end.

        Raises:
            ImportRejected: Too many rows are bad.
            ValueError: There is no header where there must be one, or a line is far too long.
        """
        async with aclosing(blocks):
            if self._format.header is not None:
                await self._copy_block(_without_header(await anext(blocks, b""), self._format.header))
            async for block in blocks:
                await self._copy_block(block)

    async def _copy_block(self, block: bytes) -> None:
        lines = self._format.plain(block)
        if lines is None or not await self._copy_text(lines):
            await self._copy_rows(block)
        self.rows += block.count(b"\n")

    async def _copy_text(self, lines: bytes) -> bool:
        """Copy lines of CSV as they are; return False, with nothing copied, where one is no candle."""
        if not {line.partition(b",")[0] for line in lines.splitlines()} <= self._symbol_bytes:
            return False

        async def source() -> AsyncGenerator[bytes]:
            yield lines

        try:
            # A savepoint: a COPY that fails would else end the transaction, with all that was copied before.
            async with self._driver.transaction():
                await self._driver.copy_to_table(
                    "candle_import", source=source(), columns=list(COLUMNS), format="csv"
                )
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
            return False
        return True

    async def _copy_rows(self, block: bytes) -> None:
        async def records() -> AsyncGenerator[CandleRecord | ValueError]:
            for line in block.split(b"\n")[:-1]:
                yield read_candle(line, self._format.read, self._symbols)

        copy = copy_of_records(self._driver, self._max_bad_rows - len(self.bad_rows))
        try:
            await copy.run(records())
        except TooManyBadRows:
            self._note(copy)
            report = [{"row": bad.number, "reason": bad.reason} for bad in self.bad_rows]
            limit = f"More than {self._max_bad_rows} rows are bad; nothing was copied."
            raise ImportRejected(limit, bad_rows=report) from None
        self._note(copy)

    def _note(self, copy: BulkCopy) -> None:
        found = sorted(copy.bad_rows, key=lambda bad: bad.number)
        self.bad_rows += [BadRow(self.rows + bad.number, bad.reason) for bad in found]


def _without_header(block: bytes, header: str) -> bytes:
    first, _, rest = block.partition(b"\n")
    if first.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf") != header.encode():
        raise ValueError(f"the first line must be {header}")
    return rest
