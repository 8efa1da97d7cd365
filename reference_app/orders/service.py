"""What orders do. Each method is one unit of work, committed before it returns.

An order, what is held for it, the reply for its idempotency key, the job for a matcher and the event for the
outbox are one transaction: a crash at any step leaves all of them or none.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from reference_app.accounts.problems import InsufficientFunds
from reference_app.accounts.service import HELD, MAXIMUM_BALANCE, TransactionKind, post
from reference_app.infra.database.engine import Sessions, driver_connection
from reference_app.infra.database.once import Once, run_once
from reference_app.infra.process.resources import Resources
from reference_app.market.service import MarketService
from reference_app.orders import lifecycle
from reference_app.orders.models import Amendment, HangingOrder, NewOrder, OrderRow
from reference_app.orders.problems import NoLimitPrice, OrderIsFinal, OrderNotFound, QuantityAlreadyFilled
from reference_app.orders.repository import NEWEST_FIRST, OrderReader, OrderRepository
from reference_app.orders.states import OrderState
from reference_app.patterns.idempotency_key import Reply
from reference_app.patterns.keyset_page import Page
from reference_app.patterns.outbox import Event, Relay
from reference_app.patterns.problem_details import Problem
from reference_app.portfolio.service import reserve

#: For the operator: what hangs.
__all__ = ["HangingOrder", "OperatorService", "OrderService"]

#: What a market order may cost at most, against the price when it is placed: so much cash is held for it.
COLLAR = Decimal("1.05")

#: An order hangs when its job was run so often: by then the fault has lasted for half a minute.
HANGING_TRIES = 5
#: So many hanging orders are shown at once.
MAX_HANGING = 1000

#: Raises where the client's preconditions forbid the change of an order as it was read now.
Check = Callable[[OrderRow], None]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the market says about an order that is to be placed.

    Attributes:
        instrument_id: The instrument of the order's symbol.
        hold_price: Cash that a buy holds for each share, in whole cents; None for a sale.
    """

    instrument_id: int
    hold_price: Decimal | None


class OrderService:
    """Places, reads, amends and cancels orders; one instance serves a whole process.

    Args:
        engine: Gives the connections of the reads that go straight to the driver.
        sessions: The session factory of the process.
        market: Knows the instruments and their prices.
    """

    def __init__(self, engine: AsyncEngine, sessions: Sessions, market: MarketService) -> None:
        self._engine, self._sessions, self._market = engine, sessions, market

    async def place(self, owner_id: uuid.UUID, order: NewOrder, once: Once[OrderRow]) -> Reply:
        """Accept an order once, however often it is sent.

        Args:
            owner_id: The user who places it.
            order: What is wanted.
            once: The key that came with it, and the reply.

        Raises:
            IdempotencyError: The key is in use at this moment, or belongs to another request.
            Problem: The order was refused; nothing was kept, the key can be used again.
        """
        # Before the transaction: no connection is held while the exchange is asked. A refusal waits until it
        # is known whether the order was placed before, because then its reply counts and not today's market.
        terms: Terms | Problem
        try:
            terms = await self._terms(order)
        except Problem as refusal:
            terms = refusal

        async def work(session: AsyncSession) -> OrderRow:
            if isinstance(terms, Problem):
                raise terms
            if terms.hold_price is None:
                await reserve(session, owner_id, order.account_id, terms.instrument_id, order.quantity)
            else:
                held = terms.hold_price * order.quantity
                sides = {order.account_id: -held, HELD: held}
                await post(session, TransactionKind.HOLD, sides, owner_id=owner_id)
            orders = OrderRepository(session)
            return await orders.place(owner_id, order, terms.instrument_id, terms.hold_price)

        return await run_once(self._sessions, str(owner_id), once, work)

    async def order(self, owner_id: uuid.UUID, order_id: int) -> OrderRow:
        """Return one order of the user.

        Raises:
            OrderNotFound: The user has no order with this id.
        """
        async with driver_connection(self._engine) as connection:
            found = await OrderReader(connection).order(owner_id, order_id)
        return _existing(found)

    async def orders(self, owner_id: uuid.UUID, cursor: str | None, size: int) -> Page[OrderRow]:
        """Return a page of the user's orders, newest first.

        Raises:
            InvalidCursor: The cursor was not given out with a page.
        """
        after = NEWEST_FIRST.decode(cursor)
        async with driver_connection(self._engine) as connection:
            rows = await OrderReader(connection).page(owner_id, after, size)
        return NEWEST_FIRST.page(rows, size=size)

    async def amend(self, owner_id: uuid.UUID, order_id: int, amendment: Amendment, check: Check) -> OrderRow:
        """Change quantity, limit price or both of an active order, of the version that the user has seen.

        Args:
            owner_id: The user who must own the order.
            order_id: The order's number.
            amendment: What shall be different.
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
            before = _existing(await orders.order(owner_id, order_id))
            check(before)
            await _amend(orders, before, amendment)
            after = _existing(await orders.order(owner_id, order_id))
            await lifecycle.hold_difference(session, before, after)
            await lifecycle.put_job(session, after)
            await lifecycle.tell(session, "order.amended", after)
        return after

    async def cancel(self, owner_id: uuid.UUID, order_id: int, check: Check) -> OrderRow:
        """Cancel what is not filled of an order; cancelling twice is once.

        Raises:
            OrderNotFound: The user has no order with this id.
            OrderIsFinal: It is filled or rejected.
        """
        async with self._sessions.begin() as session:
            order = _existing(await lifecycle.locked(session, order_id, owner_id))
            if order.state == OrderState.CANCELLED:
                return order
            check(order)
            if not order.is_active:
                raise OrderIsFinal(state=order.state)
            return await lifecycle.end(session, order, OrderState.CANCELLED)

    async def _terms(self, order: NewOrder) -> Terms:
        instrument = await self._market.instrument(order.symbol)
        if order.side == "sell":
            return Terms(instrument.id, None)
        price = order.limit_price
        if price is None:
            price = (await self._market.quote(order.symbol)).ask * COLLAR
        return Terms(instrument.id, lifecycle.hold_price_of(price))


@asynccontextmanager
async def open_service(resources: Resources) -> AsyncIterator[OrderService]:
    """Give the service to a process."""
    market = resources["services"][MarketService]
    yield OrderService(resources["engine"], resources["sessions"], market)


class OperatorService:
    """What an operator sees and does about orders that hang: `python -m reference_app.operator orders`.

    Args:
        sessions: The session factory of the process.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def hanging(self, size: int = MAX_HANGING) -> list[HangingOrder]:
        """Return active orders whose job was run `HANGING_TRIES` times, or that have none; oldest first."""
        async with self._sessions.begin() as session:
            return await OrderRepository(session).hanging(HANGING_TRIES, size)

    async def outbox_lag_s(self) -> float:
        """Return for how many seconds the oldest event of an order has been waiting to be told."""
        return await Relay(self._sessions, _told_by_the_relay).lag_s()

    async def restart(self, order_ids: Sequence[int]) -> list[int]:
        """Let the matchers look at these orders now, and return those that it concerns.

        An order that is final has no job; one that a matcher has at this moment is being tried.
        """
        async with self._sessions.begin() as session:
            return await OrderRepository(session).try_now(order_ids)


async def _told_by_the_relay(event: Event) -> None:
    """Publish nothing: that is what the process `relay` is for."""


def _existing(order: OrderRow | None) -> OrderRow:
    if order is None:
        raise OrderNotFound
    return order


async def _amend(orders: OrderRepository, order: OrderRow, amendment: Amendment) -> None:
    """Write what shall be different, or raise where the order cannot change so."""
    if not order.is_active:
        raise OrderIsFinal(state=order.state)
    quantity = order.quantity if amendment.quantity is None else amendment.quantity
    if quantity <= order.filled_quantity:
        raise QuantityAlreadyFilled("Cancel the order to keep what is filled.", filled=order.filled_quantity)
    limit_price, hold_price = order.limit_price, order.hold_price
    if amendment.limit_price is not None:
        if order.type == "market":
            raise NoLimitPrice
        limit_price = amendment.limit_price
        if hold_price is not None:
            hold_price = lifecycle.hold_price_of(limit_price)
            if hold_price > MAXIMUM_BALANCE:  # rounded up past what its column and any balance can hold
                raise InsufficientFunds("No balance covers such a price; nothing was changed.")
    await orders.amend(order, quantity, limit_price, hold_price)
