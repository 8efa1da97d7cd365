"""What the ledger does. Each method of the service is one unit of work, committed before it returns.

So a client that reads "201" reads the truth. A commit in a dependency after `yield` comes after the reply
(since FastAPI 0.118): the client would get 201 for money that a failing commit never booked.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.accounts.models import (
    EXCHANGE,
    HELD,
    MAXIMUM_BALANCE,
    OUTSIDE_WORLD,
    Account,
    LedgerEntry,
    TransactionKind,
)
from reference_app.accounts.problems import (
    AccountNotFound,
    BalanceTooLarge,
    EntryNotFound,
    InsufficientFunds,
    TooManyAccounts,
)
from reference_app.accounts.repository import ACCOUNTS, ENTRIES, AccountRepository, Entry
from reference_app.infra.database.engine import Sessions
from reference_app.infra.database.once import Once, run_once, run_serializable_once
from reference_app.infra.process.resources import Resources
from reference_app.patterns.idempotency_key import Reply
from reference_app.patterns.keyset_page import Page
from reference_app.patterns.money import round_money
from reference_app.patterns.serializable_retry import SerializableRetry

OPEN_ONE = "Open an account with POST /v1/accounts."
NO_BALANCE = frozenset({OUTSIDE_WORLD, HELD, EXCHANGE})


#: Other nouns use the arguments of `post`; the router uses `Entry`, which says what was booked.
__all__ = [
    "EXCHANGE",
    "HELD",
    "MAXIMUM_BALANCE",
    "AccountService",
    "Entry",
    "TransactionKind",
    "account_of",
    "post",
]


class AccountService:
    """Opens accounts and moves money; one instance serves a whole process.

    Each method works for one user, its first argument: an account of anybody else does not exist for it. That
    is "not found" and not "forbidden", which would tell that there is such an account.

    Args:
        sessions: The session factory of the process.
        serializable: Runs what counts rows before it adds one.
        max_accounts: How many accounts a user may have.
    """

    def __init__(self, sessions: Sessions, serializable: SerializableRetry, max_accounts: int) -> None:
        self._sessions = sessions
        self._serializable, self._max_accounts = serializable, max_accounts

    async def open(self, owner_id: uuid.UUID, name: str, once: Once[Account]) -> Reply:
        """Open an empty cash account: one, however often it is asked for with the same key.

        Raises:
            IdempotencyError: The key is in use at this moment, or belongs to another request.
            TooManyAccounts: The user has as many as the desk gives to one.
            RetriesExhausted: Too many accounts are being opened at this moment.
        """

        async def count_and_add(session: AsyncSession) -> Account:
            accounts = AccountRepository(session)
            if await accounts.count(owner_id) >= self._max_accounts:
                raise TooManyAccounts(f"The desk gives {self._max_accounts} accounts to a user.")
            return await accounts.add(owner_id, name)

        # The rule is about rows that were only counted: under READ COMMITTED two requests both count one
        # account too few, and both add.
        return await run_serializable_once(self._serializable, str(owner_id), once, count_and_add)

    async def accounts(self, owner_id: uuid.UUID, cursor: str | None, size: int) -> Page[Account]:
        """Return a page of the user's accounts.

        Raises:
            InvalidCursor: The cursor was not given out with a page.
        """
        async with self._sessions() as session:
            rows = await AccountRepository(session).accounts(owner_id, ACCOUNTS.decode(cursor), size)
        return ACCOUNTS.page(rows, size=size)

    async def account(self, owner_id: uuid.UUID, account_id: uuid.UUID) -> Account:
        """Return one cash account.

        Raises:
            AccountNotFound: The user has no account with this id.
        """
        async with self._sessions() as session:
            return await account_of(session, account_id, owner_id)

    async def deposit(
        self, owner_id: uuid.UUID, account_id: uuid.UUID, amount: Decimal, once: Once[Entry]
    ) -> Reply:
        """Move money from the outside world to the account: once, however often it is sent with its key.

        Args:
            owner_id: The user who must own the account.
            account_id: Where the money goes or comes from.
            amount: Above zero, in dollars and cents.
            once: The key that came with the request, and the reply.

        Raises:
            IdempotencyError: The key is in use at this moment, or belongs to another request.
            AccountNotFound: The user has no account with this id.
            BalanceTooLarge: The ledger cannot hold the new balance.
        """
        return await self._move(TransactionKind.DEPOSIT, owner_id, account_id, amount, once)

    async def withdraw(
        self, owner_id: uuid.UUID, account_id: uuid.UUID, amount: Decimal, once: Once[Entry]
    ) -> Reply:
        """Move money from the account to the outside world: once, however often it is sent with its key.

        Args:
            owner_id: The user who must own the account.
            account_id: Where the money goes or comes from.
            amount: Above zero, in dollars and cents.
            once: The key that came with the request, and the reply.

        Raises:
            IdempotencyError: The key is in use at this moment, or belongs to another request.
            AccountNotFound: The user has no account with this id.
            InsufficientFunds: The balance does not cover the amount.
        """
        return await self._move(TransactionKind.WITHDRAWAL, owner_id, account_id, -amount, once)

    async def entries(
        self, owner_id: uuid.UUID, account_id: uuid.UUID, cursor: str | None, size: int
    ) -> Page[LedgerEntry]:
        """Return a page of the entries of an account, oldest first.

        Raises:
            AccountNotFound: The user has no account with this id.
            InvalidCursor: The cursor was not given out with a page.
        """
        after = ENTRIES.decode(cursor)
        async with self._sessions() as session:
            await account_of(session, account_id, owner_id)
            rows = await AccountRepository(session).entries(account_id, after, size)
        return ENTRIES.page(rows, size=size)

    async def entry(self, owner_id: uuid.UUID, account_id: uuid.UUID, entry_id: int) -> LedgerEntry:
        """Return one entry of an account.

        Raises:
            AccountNotFound: The user has no account with this id.
            EntryNotFound: The account has no such entry.
        """
        async with self._sessions() as session:
            await account_of(session, account_id, owner_id)
            entry = await AccountRepository(session).entry(account_id, entry_id)
        if entry is None:
            raise EntryNotFound
        return entry

    async def _move(
        self,
        kind: TransactionKind,
        owner_id: uuid.UUID,
        account_id: uuid.UUID,
        amount: Decimal,
        once: Once[Entry],
    ) -> Reply:
        async def work(session: AsyncSession) -> Entry:
            sides = {account_id: amount, OUTSIDE_WORLD: -amount}
            return (await post(session, kind, sides, owner_id=owner_id))[account_id]

        return await run_once(self._sessions, str(owner_id), once, work)


@asynccontextmanager
async def open_service(resources: Resources) -> AsyncIterator[AccountService]:
    """Give the service to a process."""
    max_accounts = resources["settings"].max_accounts
    yield AccountService(resources["sessions"], resources["serializable"], max_accounts)


async def post(
    session: AsyncSession,
    kind: TransactionKind,
    sides: Mapping[uuid.UUID, Decimal],
    *,
    owner_id: uuid.UUID | None = None,
) -> dict[uuid.UUID, Entry]:
    """Book one transaction inside the caller's: other nouns move money together with their own rows.

    One statement where one cash account is involved, as in every order.

    Args:
        session: An open unit of work; the caller commits it.
        kind: The reason why money moves.
        sides: What each account gains (or loses, below zero); they sum to zero.
        owner_id: The user who must own the cash accounts; None where the caller has checked that.

    Raises:
        AccountNotFound: An account does not exist, or is another user's.
        InsufficientFunds: A balance would fall below its limit.
        BalanceTooLarge: A balance would rise above what the ledger can hold.
    """
    if owner_id is not None and NO_BALANCE.issuperset(sides):
        raise AccountNotFound(OPEN_ONE)  # a user has named one of the desk's own accounts
    repository = AccountRepository(session)
    cash = [account_id for account_id in sides if account_id not in NO_BALANCE]
    if len(cash) > 1:
        await repository.lock(cash)
    entries = await repository.book(kind, sides, len(cash), owner_id)
    if not entries:
        raise await _refusal(repository, sides, cash, owner_id)
    return {entry.account_id: entry for entry in entries}


async def account_of(session: AsyncSession, account_id: uuid.UUID, owner_id: uuid.UUID) -> Account:
    """Return an account of the user, read in the caller's transaction.

    Raises:
        AccountNotFound: The user has no account with this id.
    """
    return await _find(AccountRepository(session), account_id, owner_id)


async def _find(repository: AccountRepository, account_id: uuid.UUID, owner_id: uuid.UUID | None) -> Account:
    account = await repository.cash_account(account_id, owner_id)
    if account is None:
        raise AccountNotFound(OPEN_ONE)
    return account


async def _refusal(
    repository: AccountRepository,
    sides: Mapping[uuid.UUID, Decimal],
    cash: Sequence[uuid.UUID],
    owner_id: uuid.UUID | None,
) -> InsufficientFunds | BalanceTooLarge:
    """Say what does not allow it: a payer if there is one; AccountNotFound where an account is not there."""
    found = [await _find(repository, account_id, owner_id) for account_id in cash]
    for account in sorted(found, key=lambda account: sides[account.id]):
        balance = format(round_money(account.balance or Decimal(0)), "f")
        if sides[account.id] < 0:
            return InsufficientFunds(
                "The balance does not cover the amount; nothing was booked.", balance=balance
            )
    return BalanceTooLarge(balance=balance)
