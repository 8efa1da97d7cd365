"""Good rows arrive, bad rows are named, and memory stays flat, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import doctest
import functools
import inspect
import os
import re
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from reference_app.patterns.bulk_copy import BulkCopy, TooManyBadRows, driver_of

COLUMNS = ["symbol", "shares"]
TABLE = "CREATE TABLE positions (symbol varchar(8) PRIMARY KEY, shares int NOT NULL CHECK (shares >= 0))"


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def database() -> AsyncIterator[tuple[str, Any]]:
    """Give an address and a connection on a schema of this test's own, with a table of positions."""
    if "DATABASE_URL" not in os.environ:
        pytest.fail("Set DATABASE_URL to a PostgreSQL database where tests may make schemas.", pytrace=False)
    url = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", os.environ["DATABASE_URL"])
    schema = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(url, server_settings={"search_path": schema}, command_timeout=20)
    await connection.execute(f"CREATE SCHEMA {schema}")
    try:
        await connection.execute(TABLE)
        yield url, connection
    finally:
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
        await connection.close()


async def stream(rows: Sequence[Any]) -> AsyncGenerator[Any, None]:
    for row in rows:
        yield row


async def symbols(connection: Any) -> list[str]:
    return [row["symbol"] for row in await connection.fetch("SELECT symbol FROM positions ORDER BY symbol")]


#: Every tenth row or so is bad, each in its own way.
MIXED: list[Any] = [(f"S{number:03}", number) for number in range(60)]
MIXED[0] = ("S000", -1)
MIXED[7] = ("S007", None)
MIXED[13] = ("S012", 1)
MIXED[21] = ("S021", 2**40)
MIXED[22] = ("far too long", 1)
MIXED[30] = ("S030", "thirty")
MIXED[31] = ("S031",)
MIXED[40] = ("S040", 1, "hidden")
MIXED[50] = ValueError("line 51 is no CSV")
MIXED[59] = ("S0\x0059", 1)
BAD = {
    1: "CheckViolationError positions_shares_check",
    8: "NotNullViolationError shares",
    14: "UniqueViolationError positions_pkey",
    22: "OverflowError",
    23: "StringDataRightTruncationError",
    31: "TypeError",
    32: "1 values for 2 columns",
    41: "3 values for 2 columns",
    51: "line 51 is no CSV",
    60: "CharacterNotInRepertoireError",
}


async def good_rows_arrive_and_bad_ones_are_named(kind: type[BulkCopy], batch_size: int) -> bool:
    async with database() as (_, connection):
        copy = kind(connection, "positions", COLUMNS, batch_size=batch_size)
        try:
            await copy.run(stream(MIXED))
        except asyncpg.InFailedSQLTransactionError:
            return False
        good = sorted(row[0] for number, row in enumerate(MIXED, 1) if number not in BAD)
        if await symbols(connection) != good or copy.copied != len(good):
            return False
        return {bad.number: bad.reason for bad in copy.bad_rows} == BAD


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_good_rows_arrive_and_bad_ones_are_named(batch_size: int) -> None:
    assert asyncio.run(good_rows_arrive_and_bad_ones_are_named(BulkCopy, batch_size))


class WithoutSavepoint(BulkCopy):
    """A wrong twin: it catches the error, but the transaction is gone with the first COPY that failed."""

    async def _copy(self, batch: Any) -> None:
        for number, row in batch:
            try:
                await self.connection.copy_records_to_table("positions", columns=COLUMNS, records=[row])
                self.copied += 1
            except (asyncpg.IntegrityConstraintViolationError, TypeError, OverflowError):
                self._leave_out(number, "bad")


class CountsInBatches(BulkCopy):
    """A wrong twin: where a batch fails, it looks at its rows one by one and numbers them from 1."""

    async def _copy(self, batch: Any) -> None:
        await super()._copy([(number, row) for number, (_, row) in enumerate(batch, 1)])


class LeavesOutBatches(BulkCopy):
    """A wrong twin: one bad row takes its whole batch along."""

    async def _copy(self, batch: Any) -> None:
        try:
            async with self.connection.transaction():
                records = [row for _, row in batch]
                await self.connection.copy_records_to_table("positions", columns=COLUMNS, records=records)
            self.copied += len(batch)
        except Exception:
            self._leave_out(batch[0][0], "somewhere here")


@pytest.mark.parametrize("twin", [WithoutSavepoint, CountsInBatches, LeavesOutBatches])
def test_wrong_twins_are_rejected(twin: type[BulkCopy]) -> None:
    assert not asyncio.run(good_rows_arrive_and_bad_ones_are_named(twin, 7))


@in_a_loop
async def test_reports_quote_no_values() -> None:
    assert not any("hidden" in reason or "thirty" in reason or "far too" in reason for reason in BAD.values())
    async with database() as (_, connection):
        await connection.execute("CREATE TYPE mood AS ENUM ('calm')")
        await connection.execute("CREATE TABLE moods (mood mood)")
        copy = BulkCopy(connection, "moods", ["mood"])
        await copy.run(stream([("secret",)]))
        assert copy.bad_rows[0].reason == "InvalidTextRepresentationError"


@pytest.mark.parametrize(("max_bad_rows", "good"), [(0, False), (9, False), (10, True)])
@in_a_loop
async def test_too_many_bad_rows_undo_everything(max_bad_rows: int, good: bool) -> None:
    async with database() as (_, connection):
        copy = BulkCopy(connection, "positions", COLUMNS, batch_size=7, max_bad_rows=max_bad_rows)
        if good:
            await copy.run(stream(MIXED))
        else:
            with pytest.raises(TooManyBadRows, match=f"more than {max_bad_rows} rows"):
                await copy.run(stream(MIXED))
            assert len(copy.bad_rows) == max_bad_rows + 1
        assert bool(await symbols(connection)) is good


@in_a_loop
async def test_memory_is_bounded_by_the_batch() -> None:
    alive, most = 0, 0

    class Row(tuple):  # type: ignore[type-arg]
        def __new__(cls, *values: Any) -> Row:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return super().__new__(cls, values)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    async def rows() -> AsyncGenerator[Any, None]:
        for number in range(5_000):
            yield Row(f"S{number}", number)

    async with database() as (_, connection):
        copy = BulkCopy(connection, "positions", COLUMNS, batch_size=100)
        await copy.run(rows())
        assert copy.copied == 5_000
    assert most <= 102


@in_a_loop
async def test_trouble_that_is_not_about_a_row_is_raised_at_once_and_undoes_everything() -> None:
    async with database() as (_, connection):
        with pytest.raises(asyncpg.UndefinedColumnError):
            await BulkCopy(connection, "positions", ["symbol", "price"]).run(stream([("AAPL", 1)]))

        async def breaks() -> AsyncGenerator[Any, None]:
            yield ("AAPL", 1)
            yield ("MSFT", 1)
            raise ValueError("the upload broke off")

        with pytest.raises(ValueError, match="broke off"):
            await BulkCopy(connection, "positions", COLUMNS, batch_size=1).run(breaks())
        assert await symbols(connection) == []


@pytest.mark.parametrize("where", ["in the source", "in COPY"])
@in_a_loop
async def test_cancelled_means_undone_the_source_closed_and_the_connection_usable(where: str) -> None:
    async with database() as (url, connection):
        there, closed, never = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def rows() -> AsyncGenerator[Any, None]:
            try:
                yield ("AAPL", 1)
                yield ("MSFT", 1)
                if where == "in the source":
                    there.set()
                    await never.wait()
                yield ("IBM", 1)
            finally:
                closed.set()

        blocker = await asyncpg.connect(url)
        schema = await connection.fetchval("SELECT current_schema()")
        if where == "in COPY":  # another transaction holds the key, so that COPY waits for it
            await blocker.execute(f"BEGIN; INSERT INTO {schema}.positions VALUES ('IBM', 1)")
        copy = BulkCopy(connection, "positions", COLUMNS, batch_size=1)
        task = asyncio.create_task(copy.run(rows()))
        async with asyncio.timeout(10):
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = $1"
            while not there.is_set() and not await blocker.fetchval(waits, connection.get_server_pid()):
                await blocker.execute("SELECT pg_stat_clear_snapshot()")
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()
        assert closed.is_set()
        await blocker.close()
        assert not connection.is_in_transaction()
        assert await symbols(connection) == []


async def belongs_to_the_session(driver: Any) -> bool:
    """Are rows that were copied inside a session gone when it rolls back?"""
    async with database() as (url, connection):
        schema = await connection.fetchval("SELECT current_schema()")
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
        try:
            async with AsyncSession(engine) as session:
                copy = BulkCopy(await driver(session), "positions", COLUMNS, schema=schema)
                await copy.run(stream([("AAPL", 1)]))
                await session.rollback()
            undone = await symbols(connection) == []
            async with AsyncSession(engine) as session:
                copy = BulkCopy(await driver(session), "positions", COLUMNS, schema=schema)
                await copy.run(stream([("MSFT", 1), ("MSFT", 2)]))
                count = await session.scalar(text(f"SELECT count(*) FROM {schema}.positions"))
                await session.commit()
            assert "MSFT" in await symbols(connection)
            return undone and count == 1
        finally:
            await engine.dispose()


def test_inside_a_session_the_copy_belongs_to_its_transaction() -> None:
    assert asyncio.run(belongs_to_the_session(driver_of))


def test_a_driver_without_a_transaction_is_rejected() -> None:
    async def without_begin(session: AsyncSession) -> Any:
        return (await (await session.connection()).get_raw_connection()).driver_connection

    assert not asyncio.run(belongs_to_the_session(without_begin))


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(BulkCopy).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"batch_size": 5_000, "max_bad_rows": 100}


def test_counts_are_no_options() -> None:
    assert {"copied", "bad_rows"}.isdisjoint(inspect.signature(BulkCopy).parameters)


@pytest.mark.parametrize(
    "options", [{"columns": []}, {"batch_size": 0}, {"batch_size": -1}, {"max_bad_rows": -1}], ids=str
)
def test_numbers_without_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        BulkCopy(**({"connection": None, "table": "positions", "columns": COLUMNS} | options))


@in_a_loop
async def test_a_row_at_a_time_with_no_bad_row_allowed() -> None:
    async with database() as (_, connection):
        copy = BulkCopy(connection, "positions", COLUMNS, batch_size=1, max_bad_rows=0)
        await copy.run(stream([("AAPL", 1), ("IBM", 2)]))
        assert (copy.copied, await symbols(connection)) == (2, ["AAPL", "IBM"])


@in_a_loop
async def test_bad_rows_come_in_the_order_of_the_source_whenever_they_were_found() -> None:
    async with database() as (_, connection):
        copy = BulkCopy(connection, "positions", COLUMNS, batch_size=100)
        await copy.run(stream([("AAPL", -1), ("IBM",), ("MSFT", -1), ValueError("no CSV"), ("ORCL", 1)]))
        assert [bad.number for bad in copy.bad_rows] == [1, 2, 3, 4]


@in_a_loop
async def test_no_more_rows_are_read_than_fit_into_the_batch() -> None:
    async with database() as (_, connection):
        copies: list[int] = []

        class Counted(BulkCopy):
            async def _copy(self, batch: Any) -> None:
                copies.append(len(batch))
                await super()._copy(batch)

        copy = Counted(connection, "positions", COLUMNS, batch_size=4)
        await copy.run(stream([(f"S{number}", number) for number in range(10)]))
        assert copies == [4, 4, 2]


class Written(DeclarativeBase):
    pass


class Position(Written):
    __tablename__ = "positions"
    symbol: Mapped[str] = mapped_column(primary_key=True)
    shares: Mapped[int]


@in_a_loop
async def test_the_driver_sees_what_the_session_has_added() -> None:
    async with database() as (url, connection):
        schema = await connection.fetchval("SELECT current_schema")
        settings = {"server_settings": {"search_path": schema}}
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), connect_args=settings)
        async with AsyncSession(engine) as session:
            session.add(Position(symbol="AAPL", shares=1))
            driver = await driver_of(session)
            assert await driver.fetchval("SELECT count(*) FROM positions") == 1
            assert await driver_of(session) is driver
            await session.rollback()
        await engine.dispose()
        assert await symbols(connection) == []


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[BulkCopy.__module__]).failed == 0
