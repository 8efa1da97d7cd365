"""SQL of the ledger. It never commits: the service owns the transaction."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from reference_app.accounts.models import (
    MAXIMUM_BALANCE,
    Account,
    AccountKind,
    LedgerEntry,
    TransactionKind,
)
from reference_app.infra.database import driver_of
from reference_app.patterns.keyset_page import Keyset

ACCOUNTS = Keyset("accounts", Account.id)
ENTRIES = Keyset("entries", LedgerEntry.id)  # oldest first

#: Straight to the driver (`driver_of`): every order that is placed, filled or cancelled moves money.
CHANGE_BALANCE = """
UPDATE accounts SET balance = balance + $2
WHERE id = $1 AND balance + $2 BETWEEN minimum_balance AND $4 AND ($3::uuid IS NULL OR owner_id = $3)
RETURNING balance
"""
ADD_TRANSACTION = """
WITH booked AS (INSERT INTO ledger_transactions (kind) VALUES ($1) RETURNING id, posted_at),
added AS (
    INSERT INTO ledger_entries (transaction_id, account_id, amount, balance_after)
    SELECT booked.id, side.* FROM booked, unnest($2::uuid[], $3::numeric[], $4::numeric[]) AS side
    RETURNING id, transaction_id, account_id, amount, balance_after
)
SELECT added.*, booked.posted_at FROM added, booked
"""


@dataclass(frozen=True)
class Entry:
    """One side of a transaction that was booked now; `LedgerEntry` is one that was read."""

    id: int
    transaction_id: int
    account_id: uuid.UUID
    kind: str
    amount: Decimal
    balance_after: Decimal | None
    posted_at: dt.datetime


class AccountRepository:
    """Accounts and their entries in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, owner_id: uuid.UUID, name: str) -> Account:
        """Insert an empty cash account."""
        zero = Decimal("0.00")
        account = Account(
            kind=AccountKind.CASH, owner_id=owner_id, name=name, balance=zero, minimum_balance=zero
        )
        self._session.add(account)
        await self._session.flush()
        return account

    async def cash_account(self, account_id: uuid.UUID, owner_id: uuid.UUID | None = None) -> Account | None:
        """Return the cash account with this id, of this owner where one is named."""
        query = select(Account).where(Account.id == account_id, Account.kind == AccountKind.CASH)
        if owner_id is not None:
            query = query.where(Account.owner_id == owner_id)
        return await self._session.scalar(query)

    async def accounts(
        self, owner_id: uuid.UUID, after: tuple[Any, ...] | None, size: int
    ) -> Sequence[Account]:
        """Return the accounts of a user, in the order of `ACCOUNTS`."""
        query = ACCOUNTS.select(select(Account).where(Account.owner_id == owner_id), after=after, size=size)
        return (await self._session.scalars(query)).all()

    async def change_balance(
        self, account_id: uuid.UUID, amount: Decimal, owner_id: uuid.UUID | None
    ) -> Decimal | None:
        """Add the amount (negative: take it) if the balance stays within its limits, and lock the row.

        One statement reads, decides and writes. With a SELECT before the UPDATE two withdrawals of 80.00 both
        see 100.00, both say yes, and the later one overwrites the first: a lost update. Here the second waits
        for the row lock of the first, then reads the condition again on the new balance.

        Returns:
            The new balance, or None where the account does not exist (or is another's) or its limits forbid
            it.
        """
        driver = await driver_of(self._session)
        balance: Decimal | None = await driver.fetchval(
            CHANGE_BALANCE, account_id, amount, owner_id, MAXIMUM_BALANCE
        )
        return balance

    async def add_transaction(
        self, kind: TransactionKind, sides: Sequence[tuple[uuid.UUID, Decimal, Decimal | None]]
    ) -> list[Entry]:
        """Insert a transaction with its entries, in one statement.

        Args:
            kind: Why money moved.
            sides: Account, amount and the balance it left, for each entry.
        """
        driver = await driver_of(self._session)
        rows = await driver.fetch(ADD_TRANSACTION, kind, *zip(*sides, strict=True))
        return [Entry(kind=kind, **row) for row in rows]

    async def entries(
        self, account_id: uuid.UUID, after: tuple[Any, ...] | None, size: int
    ) -> Sequence[LedgerEntry]:
        """Return the entries of an account, in the order of `ENTRIES`."""
        query = (
            select(LedgerEntry)
            .where(LedgerEntry.account_id == account_id)
            .options(joinedload(LedgerEntry.transaction))
        )
        return (await self._session.scalars(ENTRIES.select(query, after=after, size=size))).all()

    async def entry(self, account_id: uuid.UUID, entry_id: int) -> LedgerEntry | None:
        """Return one entry of an account."""
        query = (
            select(LedgerEntry)
            .where(LedgerEntry.account_id == account_id, LedgerEntry.id == entry_id)
            .options(joinedload(LedgerEntry.transaction))
        )
        return await self._session.scalar(query)
