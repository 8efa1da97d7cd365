"""Tables of the ledger: accounts, transactions and their entries, with the rules that no code can get around.

What the tables hold by themselves (migration `0002_ledger` has the triggers):
- the entries of a transaction sum to zero, and there are at least two;
- a cash account never falls below its limit;
- the balance of a cash account is the one its last entry left;
- entries and transactions are never changed or deleted.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Literal

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    String,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from reference_app.infra.database.base import Base, Timestamp

#: The other sides of every movement; the migrations create them. Deposits come from the outside world, cash
#: for open orders waits in the second, and the exchange is paid and pays.
OUTSIDE_WORLD = uuid.UUID("00000000-0000-4000-8000-000000000001")
HELD = uuid.UUID("00000000-0000-4000-8000-000000000002")
EXCHANGE = uuid.UUID("00000000-0000-4000-8000-000000000003")

CURRENCY: Literal["USD"] = "USD"

#: 14 digits before the point: what patterns/money.py reads, and far inside exact Decimal arithmetic.
MAXIMUM_BALANCE = Decimal("99999999999999.99")


class AccountKind(enum.StrEnum):
    """Whose account it is."""

    CASH = "cash"
    OUTSIDE = "outside"


class TransactionKind(enum.StrEnum):
    """Why money moved."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    HOLD = "hold"
    RELEASE = "release"
    BUY = "buy"
    SELL = "sell"


class Account(Base):
    """A place where money is.

    Only cash accounts keep a balance. The outside world is a side of every transaction: a balance there would
    be one row that each of them must lock, and the desk would do one transaction at a time.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("kind IN ('cash', 'outside')", name="kind"),
        CheckConstraint(
            "(kind = 'cash') = (balance IS NOT NULL) AND (kind = 'cash') = (minimum_balance IS NOT NULL)",
            name="cash_has_balance",
        ),
        CheckConstraint("(kind = 'cash') = (owner_id IS NOT NULL)", name="cash_has_owner"),
        # To list the accounts of a user, and for orders to point at: the owner of one is the owner of both.
        UniqueConstraint("owner_id", "id"),
        # The service asks first; this holds even when the service is wrong.
        CheckConstraint("balance >= minimum_balance", name="minimum_balance"),
        # NUMERIC(16, 2) would round a third digit away; scale() sees it. NaN is above every number.
        CheckConstraint("scale(balance) <= 2 AND abs(balance) < 1e14", name="balance_scale"),
        CheckConstraint("scale(minimum_balance) <= 2 AND abs(minimum_balance) < 1e14", name="minimum_scale"),
    )

    # Random: it stands in URLs and must not be guessable.
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    kind: Mapped[str] = mapped_column(String(10))
    owner_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(100))
    balance: Mapped[Decimal | None] = mapped_column(Numeric)
    minimum_balance: Mapped[Decimal | None] = mapped_column(Numeric)
    opened_at: Mapped[dt.datetime] = mapped_column(Timestamp, server_default=func.now())


class LedgerTransaction(Base):
    """One movement of money: at least two entries that sum to zero."""

    __tablename__ = "ledger_transactions"
    __table_args__ = (
        CheckConstraint("kind IN ('deposit', 'withdrawal', 'hold', 'release', 'buy', 'sell')", name="kind"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    posted_at: Mapped[dt.datetime] = mapped_column(Timestamp, server_default=func.now())


class LedgerEntry(Base):
    """One side of a transaction: what it added to (or took from) one account."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        CheckConstraint("amount <> 0 AND scale(amount) <= 2 AND abs(amount) < 1e14", name="amount"),
        CheckConstraint("scale(balance_after) <= 2 AND abs(balance_after) < 1e14", name="balance_after"),
        # Statement of one account in order, and its last entry.
        Index(None, "account_id", "id", unique=True),
        Index(None, "transaction_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    transaction_id: Mapped[int] = mapped_column(ForeignKey("ledger_transactions.id"))
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    amount: Mapped[Decimal] = mapped_column(Numeric)
    balance_after: Mapped[Decimal | None] = mapped_column(Numeric)

    #: lazy="raise": a forgotten eager load fails in the first test, instead of sending one query a row.
    transaction: Mapped[LedgerTransaction] = relationship(lazy="raise")

    @property
    def kind(self) -> str:
        """Why the money moved; needs the transaction loaded."""
        return self.transaction.kind

    @property
    def posted_at(self) -> dt.datetime:
        """When the money moved; needs the transaction loaded."""
        return self.transaction.posted_at
