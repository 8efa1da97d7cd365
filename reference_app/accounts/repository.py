"""SQL of the ledger. It never commits: the service owns the transaction."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from reference_app.accounts.models import (
    MAXIMUM_BALANCE,
    Account,
    AccountKind,
    LedgerEntry,
    TransactionKind,
)
from reference_app.infra.database.engine import driver_of
from reference_app.patterns.keyset_page import Keyset

ACCOUNTS = Keyset("accounts", Account.id)
ENTRIES = Keyset("entries", LedgerEntry.id)  # oldest first

#: Straight to the driver (`driver_of`), and one round trip: every order that is placed, filled or cancelled
#: moves money. Nothing is booked unless every cash account allows it.
BOOK = """
WITH side AS (SELECT * FROM unnest($2::uuid[], $3::numeric[]) AS side(account_id, amount)),
changed AS (
    UPDATE accounts a SET balance = a.balance + side.amount FROM side
    WHERE a.id = side.account_id AND a.kind = 'cash' AND ($4::uuid IS NULL OR a.owner_id = $4)
        AND a.balance + side.amount BETWEEN a.minimum_balance AND $5
    RETURNING a.id, a.balance
),
booked AS (
    INSERT INTO ledger_transactions (kind) SELECT $1 WHERE (SELECT count(*) FROM changed) = $6
    RETURNING id, posted_at
),
added AS (
    INSERT INTO ledger_entries (transaction_id, account_id, amount, balance_after)
    SELECT booked.id, side.account_id, side.amount, changed.balance
    FROM booked, side LEFT JOIN changed ON changed.id = side.account_id
    RETURNING id, transaction_id, account_id, amount, balance_after
)
SELECT added.*, booked.posted_at FROM added, booked
"""
LOCK = "SELECT FROM accounts WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"


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

    async def count(self, owner_id: uuid.UUID) -> int:
        """Return how many accounts a user has."""
        counted = await self._session.scalar(select(func.count()).where(Account.owner_id == owner_id))
        return counted or 0

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

    async def lock(self, account_ids: Sequence[uuid.UUID]) -> None:
        """Lock several accounts, always in the same order.

        Without it two transfers A to B and B to A would each hold one row lock and wait for the other's,
        until PostgreSQL kills one of them (deadlock).
        """
        await (await driver_of(self._session)).fetch(LOCK, account_ids)

    async def book(
        self,
        kind: TransactionKind,
        sides: Mapping[uuid.UUID, Decimal],
        cash_accounts: int,
        owner_id: uuid.UUID | None,
    ) -> list[Entry]:
        """Change the balances and insert the transaction with its entries, if all limits allow it.

        One statement reads, decides and writes. With a SELECT before the UPDATE two withdrawals of 80.00 both
        see 100.00, both say yes, and the later one overwrites the first: a lost update. Here the second waits
        for the row lock of the first, then reads the condition again on the new balance.

        Args:
            kind: The reason why money moves.
            sides: What each account gains or, below zero, loses.
            cash_accounts: How many of them have a balance.
            owner_id: The user who must own those; None where that is checked already.

        Returns:
            The entries; none where an account does not exist (or is another's) or its limits forbid it.
        """
        driver = await driver_of(self._session)
        accounts, amounts = list(sides), list(sides.values())
        rows = await driver.fetch(BOOK, kind, accounts, amounts, owner_id, MAXIMUM_BALANCE, cash_accounts)
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
