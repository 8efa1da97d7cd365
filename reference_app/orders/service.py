"""What orders do. Each method is one unit of work, committed before it returns.

An order, what is held for it, the reply for its idempotency key, the job for a matcher and the event for the
outbox are one transaction: a crash at any step leaves all of them or none.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import Any

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from reference_app.accounts.service import HELD, TransactionKind, post
from reference_app.infra.database import Sessions, driver_connection
from reference_app.market.service import MarketService
from reference_app.orders import repository
from reference_app.orders.models import OrderRow
from reference_app.orders.problems import NoLimitPrice, OrderIsFinal, OrderNotFound, QuantityAlreadyFilled
from reference_app.orders.repository import NEWEST_FIRST, OrderRepository
from reference_app.orders.states import OrderState, step
from reference_app.patterns import outbox, skip_locked_queue
from reference_app.patterns.idempotency_key import IdempotencyKeys, Reply
from reference_app.patterns.keyset_page import Page
from reference_app.patterns.problem_details import Problem
from reference_app.portfolio.service import reserve

__all__ = ["OrderRow", "OrderService", "end", "job_of", "tell"]

#: What a market order may cost at most, against the price when it is placed: so much cash is held for it.
COLLAR = Decimal("1.05")
CENT = Decimal("0.01")


class OrderService:
    """Places, reads, amends and cancels orders; one instance serves a whole process.

    Args:
        engine: For the reads that go straight to the driver.
        sessions: The session factory of the app.
        market: Knows the instruments and their prices.
    """

    def __init__(self, engine: AsyncEngine, sessions: Sessions, market: MarketService) -> None:
        self._engine, self._sessions, self._market = engine, sessions, market
        self.keys = IdempotencyKeys(sessions, keep_refusals=False)

    async def place(
        self, owner_id: uuid.UUID, order: Any, *, key: str, sent: bytes, render: Callable[[OrderRow], Reply]
    ) -> Reply:
        """Accept an order once, however often it is sent.

        Args:
            owner_id: Who places it.
            order: A `MarketOrderIn` or `LimitOrderIn`.
            key: The idempotency key.
            sent: The fingerprint of the request.
            render: Makes the reply that is stored with the order.

        Raises:
            IdempotencyError: The key is in use at this moment, or belongs to another request.
            Problem: The order was refused; nothing was kept, the key can be used again.
        """
        # Before the transaction: no connection is held while the exchange is asked. A refusal waits until it
        # is known whether the order was placed before, because then its reply counts and not today's market.
        terms: tuple[int, Decimal | None] | Problem
        try:
            terms = await self._terms(order)
        except Problem as refusal:
            terms = refusal

        async def work(session: AsyncSession) -> Reply:
            if isinstance(terms, Problem):
                raise terms
            instrument_id, hold_price = terms
            if hold_price is None:
                await reserve(session, owner_id, order.account_id, instrument_id, order.quantity)
            else:
                held = hold_price * order.quantity
                sides = {order.account_id: -held, HELD: held}
                await post(session, TransactionKind.HOLD, sides, owner_id=owner_id)
            limit_price = getattr(order, "limit_price", None)
            placed = await OrderRepository(session).place(
                owner_id, order.account_id, instrument_id, order.symbol, order.side, order.type,
                limit_price, hold_price, order.quantity,
            )  # fmt: skip
            return render(placed)

        return await self.keys.run(str(owner_id), key, sent, work)

    async def order(self, owner_id: uuid.UUID, order_id: int) -> OrderRow:
        """Return one order of the user.

        Raises:
            OrderNotFound: The user has no order with this id.
        """
        async with driver_connection(self._engine) as connection:
            found = await repository.read(connection, order_id, owner_id)
        return _existing(found)

    async def orders(self, owner_id: uuid.UUID, cursor: str | None, size: int) -> Page[OrderRow]:
        """Return a page of the user's orders, newest first.

        Raises:
            InvalidCursor: The cursor is of no page before.
        """
        after = NEWEST_FIRST.decode(cursor)
        async with driver_connection(self._engine) as connection:
            rows = await repository.page(connection, owner_id, after, size)
        return NEWEST_FIRST.page(rows, size=size)

    async def amend(
        self,
        owner_id: uuid.UUID,
        order_id: int,
        changes: dict[str, Any],
        check: Callable[[OrderRow], None],
    ) -> OrderRow:
        """Change quantity, limit price or both of an active order, of the version that the user has seen.

        Args:
            owner_id: Whose it must be.
            order_id: Which order.
            changes: `quantity`, `limit_price` or both.
            check: Raises where the user has seen another version.

        Raises:
            OrderNotFound: The user has no order with this id.
            OrderIsFinal: It cannot change any more.
            QuantityAlreadyFilled: More is filled than the new quantity.
            NoLimitPrice: A market order has none.
            InsufficientFunds: The balance does not cover what more must be held.
            InsufficientPosition: There are too few shares that are free.
            VersionConflict: Somebody changed it between the check and the write.
        """
        async with self._sessions.begin() as session:
            orders = OrderRepository(session)
            before = _existing(await orders.of(owner_id, order_id))
            check(before)
            values = _amended(before, changes)
            await orders.amend(before, values)
            after = _existing(await orders.of(owner_id, order_id))
            await _hold_difference(session, before, after)
            await skip_locked_queue.put(session, job_of(after))
            await tell(session, "order.amended", after)
        return after

    async def cancel(self, owner_id: uuid.UUID, order_id: int, check: Callable[[OrderRow], None]) -> OrderRow:
        """Cancel what is not filled of an order; cancelling twice is once.

        Raises:
            OrderNotFound: The user has no order with this id.
            OrderIsFinal: It is filled or rejected.
        """
        async with self._sessions.begin() as session:
            orders = OrderRepository(session)
            order = await orders.locked(order_id)
            if order is None or order.owner_id != owner_id:
                raise OrderNotFound
            if order.state == OrderState.CANCELLED:
                return order
            check(order)
            if not order.is_active:
                raise OrderIsFinal(state=order.state)
            return await end(session, order, OrderState.CANCELLED)

    async def _terms(self, order: Any) -> tuple[int, Decimal | None]:
        """Return the instrument, and for a buy the cash to hold a share, in whole cents."""
        instrument = await self._market.instrument(order.symbol)
        if order.side == "sell":
            return instrument.id, None
        price = getattr(order, "limit_price", None)
        if price is None:
            price = (await self._market.quote(order.symbol)).ask * COLLAR
        return instrument.id, hold_price_of(price)


def hold_price_of(price: Decimal) -> Decimal:
    """Return the price rounded up to cents: what is held then covers every cost, however it is rounded."""
    return price.quantize(CENT, rounding=ROUND_CEILING)


def job_of(order: OrderRow) -> str:
    """Return the payload of the job that looks at this version of the order.

    With the version: whatever changes an active order puts a new job, and the job of the version before ends
    without doing anything. So an order that waits in the book has one job, however often it was amended.
    """
    return f"{order.id} {order.symbol} {order.version}"


async def tell(session: AsyncSession, topic: str, order: OrderRow, **more: str) -> None:
    """Write an event of the order to the outbox; last in a transaction, because it locks the order's key."""
    payload = {"order_id": order.id, "account_id": str(order.account_id), "symbol": order.symbol}
    payload |= {"state": order.state, "version": order.version, **more}
    await outbox.add(session, outbox.Event(f"order {order.id}", topic, json.dumps(payload)))


async def end(session: AsyncSession, order: OrderRow, state: OrderState) -> OrderRow:
    """Cancel or reject a locked order, and give back what is held or reserved for it."""
    after = await OrderRepository(session).move(order.id, step(order.state, state))
    if order.hold_price is None:
        back = -order.open_quantity
        await reserve(session, order.owner_id, order.account_id, order.instrument_id, back)
    else:
        held = order.hold_price * order.open_quantity
        await post(session, TransactionKind.RELEASE, {order.account_id: held, HELD: -held})
    await tell(session, f"order.{state}", after)
    return after


def _existing(order: OrderRow | None) -> OrderRow:
    if order is None:
        raise OrderNotFound
    return order


def _amended(order: OrderRow, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the columns to set, or raise where the order cannot change so."""
    if not order.is_active:
        raise OrderIsFinal(state=order.state)
    if changes.get("quantity", order.quantity) <= order.filled_quantity:
        raise QuantityAlreadyFilled("Cancel the order to keep what is filled.", filled=order.filled_quantity)
    values = {**changes, "updated_at": func.clock_timestamp()}
    if "limit_price" in changes:
        if order.type == "market":
            raise NoLimitPrice
        if order.hold_price is not None:
            values["hold_price"] = hold_price_of(changes["limit_price"])
    return values


async def _hold_difference(session: AsyncSession, before: OrderRow, after: OrderRow) -> None:
    if before.hold_price is None or after.hold_price is None:
        more = after.open_quantity - before.open_quantity
        if more:
            await reserve(session, after.owner_id, after.account_id, after.instrument_id, more)
        return
    difference = after.hold_price * after.open_quantity - before.hold_price * before.open_quantity
    if difference:
        kind = TransactionKind.HOLD if difference > 0 else TransactionKind.RELEASE
        await post(session, kind, {after.account_id: -difference, HELD: difference})
