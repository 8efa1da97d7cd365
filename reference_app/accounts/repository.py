"""SQL of the ledger. It never commits: the service owns the transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from reference_app.accounts.models import (
    MAXIMUM_BALANCE,
    Account,
    AccountKind,
    LedgerEntry,
    LedgerTransaction,
    TransactionKind,
)
from reference_app.patterns.keyset_page import Keyset

ACCOUNTS = Keyset("accounts", Account.id)
ENTRIES = Keyset("entries", LedgerEntry.id)  # oldest first


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

    async def change_balance(self, account_id: uuid.UUID, amount: Decimal) -> Decimal | None:
        """Add the amount (negative: take it) if the balance stays within its limits, and lock the row.

        One statement reads, decides and writes. With a SELECT before the UPDATE two withdrawals of 80.00 both
        see 100.00, both say yes, and the later one overwrites the first: a lost update. Here the second waits
        for the row lock of the first, then reads the condition again on the new balance.

        Returns:
            The new balance, or None where the account does not exist or the limits forbid it.
        """
        new_balance = Account.balance + amount
        statement = (
            update(Account)
            .where(Account.id == account_id, new_balance.between(Account.minimum_balance, MAXIMUM_BALANCE))
            .values(balance=new_balance)
            .returning(Account.balance)
            .execution_options(synchronize_session=False)
        )
        return await self._session.scalar(statement)

    async def add_transaction(
        self, kind: TransactionKind, sides: Sequence[tuple[uuid.UUID, Decimal, Decimal | None]]
    ) -> list[LedgerEntry]:
        """Insert a transaction with its entries.

        Args:
            kind: Why money moved.
            sides: Account, amount and the balance it left, for each entry.
        """
        transaction = LedgerTransaction(kind=kind)
        self._session.add(transaction)
        await self._session.flush()
        entries = [
            LedgerEntry(account_id=account_id, amount=amount, balance_after=balance, transaction=transaction)
            for account_id, amount, balance in sides
        ]
        self._session.add_all(entries)
        await self._session.flush()
        return entries

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
