"""Tables of orders and their fills, and an order on its way into and out of them."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Numeric,
    String,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from reference_app.infra.database.base import Base, Timestamp
from reference_app.orders.states import ACTIVE, OrderState

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit"]


class Order(Base):
    """What somebody wants to buy or sell.

    What is held for it follows from the row: `hold_price` for each share that is still to be bought, while it
    is active. So no second number can disagree with it.
    """

    __tablename__ = "orders"
    __table_args__ = (
        # The owner stands here too, so that "my orders" and "is it mine" need no join; and is the account's.
        ForeignKeyConstraint(["owner_id", "account_id"], ["accounts.owner_id", "accounts.id"]),
        CheckConstraint("side IN ('buy', 'sell')", name="side"),
        CheckConstraint("type IN ('market', 'limit')", name="type"),
        CheckConstraint("state IN ('pending', 'open', 'filled', 'cancelled', 'rejected')", name="state"),
        CheckConstraint("(type = 'limit') = (limit_price IS NOT NULL)", name="limit_has_price"),
        CheckConstraint(
            "limit_price > 0 AND limit_price < 1e14 AND scale(limit_price) <= 4", name="limit_price"
        ),
        CheckConstraint("(side = 'buy') = (hold_price IS NOT NULL)", name="buy_has_hold"),
        CheckConstraint("hold_price > 0 AND hold_price < 1e14 AND scale(hold_price) <= 2", name="hold_price"),
        CheckConstraint("quantity > 0 AND filled_quantity BETWEEN 0 AND quantity", name="quantity"),
        CheckConstraint("(state = 'filled') = (filled_quantity = quantity)", name="filled"),
        Index(None, "owner_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    owner_id: Mapped[uuid.UUID] = mapped_column()
    account_id: Mapped[uuid.UUID] = mapped_column()
    instrument_id: Mapped[int] = mapped_column(ForeignKey("instruments.id"))
    #: As it was called when the order was placed.
    symbol: Mapped[str] = mapped_column(String(10))
    side: Mapped[str] = mapped_column(String(4))
    type: Mapped[str] = mapped_column(String(6))
    limit_price: Mapped[Decimal | None] = mapped_column(Numeric)
    #: Cash that a buy holds for each share, in cents; the order is never filled above it.
    hold_price: Mapped[Decimal | None] = mapped_column(Numeric)
    quantity: Mapped[int] = mapped_column(BigInteger)
    filled_quantity: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    state: Mapped[str] = mapped_column(String(10), server_default=text("'pending'"))
    #: Counts changes; the ETag is made of it (patterns/optimistic_version.py).
    version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    placed_at: Mapped[dt.datetime] = mapped_column(Timestamp, server_default=func.now())
    updated_at: Mapped[dt.datetime] = mapped_column(Timestamp, server_default=func.now())


@dataclass(frozen=True, slots=True)
class HangingOrder:
    """An active order that no matcher gets on with.

    Attributes:
        id: The order's number.
        symbol: What is traded.
        state: Pending or open.
        placed_at: When it was accepted.
        tries: How often its job was run; None where it has no job.
        next_try_at: When a matcher looks at it again; None where it has no job.
    """

    id: int
    symbol: str
    state: str
    placed_at: dt.datetime
    tries: int | None
    next_try_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order that somebody wants to place.

    Attributes:
        account_id: Pays, or has the shares.
        symbol: What is traded.
        side: Whether shares are bought or sold.
        type: A market order takes the price of the exchange, a limit order its limit or better.
        quantity: Shares.
        limit_price: US dollars a share; None for a market order.
    """

    account_id: uuid.UUID
    symbol: str
    side: Side
    type: OrderType
    quantity: int
    limit_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Amendment:
    """What shall be different about an order; None leaves it as it is.

    Attributes:
        quantity: All shares, the filled ones included.
        limit_price: US dollars a share.
    """

    quantity: int | None = None
    limit_price: Decimal | None = None


class OrderRow(NamedTuple):
    """An order as it was read: a tuple with names, at a tenth of the cost of an object."""

    id: int
    owner_id: uuid.UUID
    account_id: uuid.UUID
    instrument_id: int
    symbol: str
    side: Side
    type: OrderType
    limit_price: Decimal | None
    hold_price: Decimal | None
    quantity: int
    filled_quantity: int
    state: OrderState
    version: int
    placed_at: dt.datetime
    updated_at: dt.datetime

    @property
    def is_active(self) -> bool:
        """Whether it can still be filled, amended or cancelled."""
        return self.state in ACTIVE

    @property
    def open_quantity(self) -> int:
        """Shares that are not filled."""
        return self.quantity - self.filled_quantity


class Fill(Base):
    """One trade of an order with the exchange; below zero: sold."""

    __tablename__ = "fills"
    __table_args__ = (
        CheckConstraint("quantity <> 0", name="quantity"),
        CheckConstraint("price > 0 AND price < 1e14 AND scale(price) <= 4", name="price"),
        CheckConstraint("amount > 0 AND amount < 1e14 AND scale(amount) <= 2", name="amount"),
        Index(None, "order_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    ledger_transaction_id: Mapped[int] = mapped_column(ForeignKey("ledger_transactions.id"))
    quantity: Mapped[int] = mapped_column(BigInteger)
    price: Mapped[Decimal] = mapped_column(Numeric)
    amount: Mapped[Decimal] = mapped_column(Numeric)
    filled_at: Mapped[dt.datetime] = mapped_column(Timestamp, server_default=func.now())
