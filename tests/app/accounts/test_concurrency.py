"""Money under concurrency. Interleavings are forced: requests are held at the row lock, then let go at once.

"Held" is what PostgreSQL itself says (`pg_blocking_pids`), so a fast and a slow machine test the same thing.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from deskbook.desk import RunningApp, running_app

from reference_app.accounts.models import TransactionKind
from reference_app.accounts.service import post
from tests.app.trader import Trader

CLIENTS = 10


@pytest.fixture(scope="module")
async def busy_desk() -> AsyncIterator[RunningApp]:
    """Give an app whose requests may all wait at once for as long as a slow machine needs."""
    async with running_app(
        database_pool_size=CLIENTS, database_lock_timeout_s=60, database_command_timeout_s=60
    ) as running:
        yield running


async def until_waiting(desk: RunningApp, sessions: int) -> None:
    """Return when that many sessions wait for a row lock, directly or in its queue.

    It must not ask inside the transaction that holds the lock: there pg_stat_activity never changes.
    """
    observer = await asyncpg.connect(desk.database_url)
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
    """
    try:
        async with asyncio.timeout(30):
            # No sleep: each question gives the loop, and with it the requests, time to run on.
            while await observer.fetchval(query) < sessions:
                pass
    finally:
        await observer.close()


@asynccontextmanager
async def locked(desk: RunningApp, account_id: object) -> AsyncIterator[None]:
    """Hold the row of an account until the end of the block."""
    connection = await asyncpg.connect(desk.database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", account_id)
            yield
    finally:
        await connection.close()


async def test_of_ten_withdrawals_that_start_together_one_wins(
    busy_desk: RunningApp, invariants: Any
) -> None:
    account_id = await Trader(busy_desk).open_account("100.00")
    url = f"/v1/accounts/{account_id}/withdrawals"
    async with asyncio.TaskGroup() as group, locked(busy_desk, account_id):
        requests = [
            group.create_task(busy_desk.client.post(url, json={"amount": "80.00"})) for _ in range(CLIENTS)
        ]
        await until_waiting(busy_desk, CLIENTS)
    replies = Counter(request.result().status_code for request in requests)
    assert replies == {201: 1, 409: CLIENTS - 1}
    assert (await busy_desk.client.get(f"/v1/accounts/{account_id}")).json()["balance"] == "20.00"
    await invariants(busy_desk.database_url)


async def test_no_deposit_is_lost_when_ten_start_together(busy_desk: RunningApp, invariants: Any) -> None:
    account_id = await Trader(busy_desk).open_account("1.00")
    url = f"/v1/accounts/{account_id}/deposits"
    async with asyncio.TaskGroup() as group, locked(busy_desk, account_id):
        requests = [
            group.create_task(busy_desk.client.post(url, json={"amount": "0.10"})) for _ in range(CLIENTS)
        ]
        await until_waiting(busy_desk, CLIENTS)
    assert {request.result().status_code for request in requests} == {201}
    left = sorted(request.result().json()["balance_after"] for request in requests)
    assert left == [f"1.{tenths}0" for tenths in range(1, 10)] + ["2.00"]
    await invariants(busy_desk.database_url)


async def test_deposits_to_two_accounts_do_not_wait_for_each_other(busy_desk: RunningApp) -> None:
    held, free = [await Trader(busy_desk).open_account("1.00") for _ in range(2)]
    async with asyncio.TaskGroup() as group, locked(busy_desk, held):
        held_request = group.create_task(
            busy_desk.client.post(f"/v1/accounts/{held}/deposits", json={"amount": "1.00"})
        )
        await until_waiting(busy_desk, 1)
        reply = await busy_desk.client.post(f"/v1/accounts/{free}/deposits", json={"amount": "1.00"})
        assert reply.status_code == 201
        assert not held_request.done()
    assert held_request.result().status_code == 201


async def test_transfers_in_opposite_directions_do_not_deadlock(
    busy_desk: RunningApp, invariants: Any
) -> None:
    trader = Trader(busy_desk)
    both = first, second = sorted([uuid.UUID(await trader.open_account("50.00")) for _ in range(2)])

    async def transfer(source: uuid.UUID, target: uuid.UUID, amount: str) -> None:
        async with busy_desk.state["sessions"].begin() as session:
            sides = {source: -Decimal(amount), target: Decimal(amount)}
            await post(session, TransactionKind.DEPOSIT, sides)

    # Whoever did not lock `first` first would take `second` now, and wait for `first` with it in hand.
    async with asyncio.TaskGroup() as group, locked(busy_desk, first):
        group.create_task(transfer(first, second, "10.00"))
        group.create_task(transfer(second, first, "3.00"))
        await until_waiting(busy_desk, 2)
        free = await busy_desk.sql("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE NOWAIT", second)
        assert len(free) == 1
    rows = await busy_desk.sql("SELECT balance::text FROM accounts WHERE id = ANY($1) ORDER BY id", both)
    assert [row["balance"] for row in rows] == ["43.00", "57.00"]
    await invariants(busy_desk.database_url)


async def test_a_request_that_cannot_get_its_lock_is_told_to_come_again(
    busy_desk: RunningApp, invariants: Any
) -> None:
    account_id = await Trader(busy_desk).open_account("1.00")
    url = f"/v1/accounts/{account_id}/deposits"
    same_database = {"database_url": busy_desk.database_url, "database_lock_timeout_s": 0.05}
    async with running_app(**same_database) as impatient, locked(busy_desk, account_id):
        reply = await impatient.client.post(url, json={"amount": "1.00"})
    assert (reply.status_code, reply.json()["type"]) == (503, "/problems/service-unavailable")
    assert reply.headers["retry-after"] == "1"
    await invariants(busy_desk.database_url)


async def test_the_commit_comes_before_the_reply(own_desk: RunningApp) -> None:
    """A commit that fails must not be preceded by a 201."""
    account_id = await Trader(own_desk).open_account("5.00")
    await own_desk.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'the commit fails' USING ERRCODE = 'serialization_failure'; END $$"
    )
    await own_desk.sql(
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON ledger_entries DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    reply = await own_desk.client.post(f"/v1/accounts/{account_id}/deposits", json={"amount": "1.00"})
    assert reply.status_code == 503
    assert (await own_desk.client.get(f"/v1/accounts/{account_id}")).json()["balance"] == "5.00"


async def test_a_request_cancelled_while_it_waits_leaves_nothing_behind(
    busy_desk: RunningApp, invariants: Any
) -> None:
    account_id = await Trader(busy_desk).open_account("5.00")
    async with locked(busy_desk, account_id):
        request = asyncio.create_task(
            busy_desk.client.post(f"/v1/accounts/{account_id}/deposits", json={"amount": "1.00"})
        )
        await until_waiting(busy_desk, 1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    reply = await busy_desk.client.post(f"/v1/accounts/{account_id}/deposits", json={"amount": "2.00"})
    assert reply.json()["balance_after"] == "7.00"
    assert busy_desk.state["engine"].pool.checkedout() == 0  # type: ignore[attr-defined]
    await invariants(busy_desk.database_url)
