"""No candle without its instrument: the triggers of migration 0011 hold what a foreign key would."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from deskbook.desk import RunningApp

ADD = "INSERT INTO candles SELECT i, '2014-01-01', 1, 1, 1, 1, 1, 1 FROM unnest($1::int[]) i"
NEW = "INSERT INTO instruments (symbol, name) VALUES ($1, 'New Inc.') RETURNING id"
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"


async def test_one_unknown_instrument_refuses_the_whole_statement(own_desk: RunningApp) -> None:
    known = (await own_desk.sql(NEW, "NEW"))[0]["id"]
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="does not exist"):
        await own_desk.sql(ADD, [known, 10**6])
    assert await own_desk.sql("SELECT FROM candles WHERE instrument_id = $1", known) == []
    await own_desk.sql(ADD, [known])
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="does not exist"):
        await own_desk.sql("UPDATE candles SET instrument_id = 1000000 WHERE instrument_id = $1", known)


async def test_an_instrument_with_candles_stays(own_desk: RunningApp) -> None:
    id_ = (await own_desk.sql(NEW, "NEW"))[0]["id"]
    await own_desk.sql(ADD, [id_])
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="has candles"):
        await own_desk.sql("DELETE FROM instruments WHERE id = $1", id_)
    await own_desk.sql("DELETE FROM candles WHERE instrument_id = $1", id_)
    await own_desk.sql("DELETE FROM instruments WHERE id = $1", id_)


@pytest.mark.parametrize("first", ["candle", "deletion"])
async def test_of_a_candle_and_a_deletion_at_once_the_first_counts(own_desk: RunningApp, first: str) -> None:
    id_ = (await own_desk.sql(NEW, "NEW"))[0]["id"]
    delete = "DELETE FROM instruments WHERE id = $1"
    statements = [(ADD, [id_]), (delete, id_)]
    (one, other) = statements if first == "candle" else reversed(statements)
    holder = await asyncpg.connect(own_desk.database_url)
    waiter = await asyncpg.connect(own_desk.database_url)
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(*one)
        second = asyncio.create_task(waiter.execute(*other))
        async with asyncio.timeout(10):
            while not await holder.fetchval(BLOCKED):
                assert not second.done(), "it did not wait"
        await transaction.commit()
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await second
    finally:
        await holder.close()
        await waiter.close()
    candles = await own_desk.sql("SELECT FROM candles WHERE instrument_id = $1", id_)
    instruments = await own_desk.sql("SELECT FROM instruments WHERE id = $1", id_)
    assert (len(candles), len(instruments)) == ((1, 1) if first == "candle" else (0, 0))
