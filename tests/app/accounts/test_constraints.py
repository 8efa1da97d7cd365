"""What the database refuses by itself: rows that the service would never send."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal

import asyncpg
import pytest
from deskbook.desk.database import desk_template
from deskbook.services import fresh_database

from reference_app.accounts.models import OUTSIDE_WORLD

WORLD = f"'{OUTSIDE_WORLD}'"


ADA = uuid.UUID(int=0xADA)


@pytest.fixture(scope="module")
async def database() -> AsyncIterator[asyncpg.Connection]:
    """Give a connection to a ledger where Ada has 100.00, which no test changes."""
    async with fresh_database(desk_template()) as url:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await book(connection, ADA, "100.00", "100.00", open_first=True)
            yield connection
        finally:
            await connection.close()


async def book(
    connection: asyncpg.Connection, account_id: uuid.UUID, amount: str, after: str, open_first: bool = False
) -> int:
    """Book a deposit the right way, inside the caller's transaction."""
    if open_first:
        await connection.execute(
            "INSERT INTO accounts (id, owner_id, kind, name, balance, minimum_balance) "
            "SELECT $1, id, 'cash', 'Ada', 0, 0 FROM users WHERE name = 'ada'",
            account_id,
        )
    await connection.execute(
        "UPDATE accounts SET balance = balance + $2 WHERE id = $1", account_id, Decimal(amount)
    )
    transaction = await connection.fetchval(
        "INSERT INTO ledger_transactions (kind) VALUES ('deposit') RETURNING id"
    )
    await connection.execute(
        "INSERT INTO ledger_entries (transaction_id, account_id, amount, balance_after) "
        "VALUES ($1, $2, $3, $4), ($1, $5, -$3::numeric, NULL)",
        transaction, account_id, Decimal(amount), Decimal(after), OUTSIDE_WORLD,
    )  # fmt: skip
    return int(transaction)


async def violates(name: str, attempt: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refusal:
        await attempt()
    assert refusal.value.constraint_name == name


def entry(amount: str, after: str = "NULL", account: str = f"'{ADA}'") -> str:
    return (
        "INSERT INTO ledger_entries (transaction_id, account_id, amount, balance_after) "
        f"VALUES ((SELECT max(id) FROM ledger_transactions), {account}, {amount}, {after});"
    )


NEW = "INSERT INTO ledger_transactions (kind) VALUES ('deposit');"
ADD = f"UPDATE accounts SET balance = balance + 1 WHERE id = '{ADA}';"

WRONG = {
    # the sum
    "ledger_transactions_sum_to_zero": [
        NEW,
        NEW + ADD + entry("1", "101"),
        NEW + ADD + entry("1", "101") + entry("-2", account=WORLD),
        # later, to a transaction that was right
        ADD + entry("1", "101"),
    ],
    # the balance
    "accounts_balance_is_the_last_entry": [
        ADD,
        NEW + ADD + entry("1", "102") + entry("-1", account=WORLD),
        NEW + ADD + entry("2", "102") + entry("-2", account=WORLD),
        f"UPDATE accounts SET balance = 0 WHERE id = '{ADA}'",
        "INSERT INTO accounts (id, owner_id, kind, name, balance, minimum_balance) "
        "SELECT gen_random_uuid(), id, 'cash', 'Rich', 100, 0 FROM users WHERE name = 'ada'",
    ],
    "ledger_entries_continue_the_account": [
        NEW + entry("1", "101") + entry("-1", account=WORLD),  # the account was not changed
        NEW + entry("1", "NULL") + entry("-1", account=WORLD),
        NEW + ADD + entry("2", "101") + entry("-2", account=WORLD),
        NEW + entry("1") + entry("-1", "5", account=WORLD),
        # an entry in the middle, with a number of its own choice
        NEW + "INSERT INTO ledger_entries (id, transaction_id, account_id, amount, balance_after) "
        f"OVERRIDING SYSTEM VALUE VALUES (0, (SELECT max(id) FROM ledger_transactions), '{ADA}', 7, 7);"
        + entry("-7", account=WORLD),
    ],
    "accounts_minimum_balance_check": [
        f"UPDATE accounts SET balance = -0.01 WHERE id = '{ADA}'",
        f"UPDATE accounts SET minimum_balance = 100.01 WHERE id = '{ADA}'",
    ],
    "accounts_kind_is_final": [
        f"UPDATE accounts SET kind = 'outside', balance = NULL, minimum_balance = NULL, owner_id = NULL "
        f"WHERE id = '{ADA}'"
    ],
    "accounts_cash_has_owner_check": [
        f"UPDATE accounts SET owner_id = NULL WHERE id = '{ADA}'",
        f"UPDATE accounts SET owner_id = (SELECT id FROM users LIMIT 1) WHERE id = {WORLD}",
    ],
    "accounts_cash_has_balance_check": [
        f"UPDATE accounts SET balance = NULL WHERE id = '{ADA}'",
        f"UPDATE accounts SET balance = 0 WHERE id = {WORLD}",
    ],
    # the scale
    "accounts_balance_scale_check": [
        f"UPDATE accounts SET balance = 100.001 WHERE id = '{ADA}'",
        f"UPDATE accounts SET balance = 1e14 WHERE id = '{ADA}'",
        f"UPDATE accounts SET balance = 'NaN' WHERE id = '{ADA}'",
        f"UPDATE accounts SET balance = 'Infinity' WHERE id = '{ADA}'",
    ],
    "ledger_entries_amount_check": [
        NEW + entry("0", "100"),
        NEW + entry("0.001", "100.001"),
        NEW + entry("'NaN'", "100"),
        NEW + entry("'-Infinity'", "100"),
    ],
    # history
    "ledger_entries_append_only": [
        "UPDATE ledger_entries SET amount = amount * 2",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries",
    ],
    "ledger_transactions_append_only": [
        "UPDATE ledger_transactions SET kind = 'withdrawal'",
        "DELETE FROM ledger_transactions",
        "TRUNCATE ledger_transactions CASCADE",
    ],
    "ledger_entries_account_id_fkey": [f"DELETE FROM accounts WHERE id = '{ADA}'"],
    "ledger_transactions_kind_check": ["INSERT INTO ledger_transactions (kind) VALUES ('gift')"],
}


@pytest.mark.parametrize(
    ("constraint", "sql"),
    [
        pytest.param(name, sql, id=f"{name}-{n}")
        for name, attempts in WRONG.items()
        for n, sql in enumerate(attempts)
    ],
)
async def test_wrong_rows_are_refused(database: asyncpg.Connection, constraint: str, sql: str) -> None:
    await violates(constraint, lambda: database.execute(f"BEGIN; {sql} ; COMMIT"))
    await database.execute("ROLLBACK")
    assert await database.fetchval("SELECT balance FROM accounts WHERE id = $1", ADA) == 100


async def test_right_transactions_are_accepted_also_two_in_one_commit(database: asyncpg.Connection) -> None:
    account_id = uuid.uuid4()
    async with database.transaction():
        await book(database, account_id, "1.50", "1.50", open_first=True)
        await book(database, account_id, "2.00", "3.50")
    balance = await database.fetchval("SELECT balance FROM accounts WHERE id = $1", account_id)
    assert balance == Decimal("3.50")


async def test_temporary_tables_do_not_mislead_the_checks(database: asyncpg.Connection) -> None:
    """A temporary table shadows a real one; the checks must still look at the real one."""
    await violates(
        "accounts_balance_is_the_last_entry",
        lambda: database.execute(
            "BEGIN; CREATE TEMPORARY TABLE ledger_entries (LIKE public.ledger_entries); "
            "CREATE TEMPORARY TABLE accounts (LIKE public.accounts); "
            "UPDATE public.accounts SET balance = 1000 WHERE kind = 'cash'; COMMIT"
        ),
    )
    await database.execute("ROLLBACK")


async def test_checking_early_does_not_open_a_gap(database: asyncpg.Connection) -> None:
    """SET CONSTRAINTS makes the checks run sooner, and what follows is checked at once."""
    transaction = database.transaction()
    await transaction.start()
    await book(database, ADA, "1.00", "101.00")
    await database.execute("SET CONSTRAINTS ALL IMMEDIATE")
    await violates("accounts_balance_is_the_last_entry", lambda: database.execute(ADD))
    await transaction.rollback()
