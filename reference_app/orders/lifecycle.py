"""The steps in the life of an order that is there: what each does to its row, cash, shares, job and event.

Each step is done in the caller's transaction, on an order that this transaction has locked. What is held for
an order, the job of a matcher and the event for the outbox change together with its state: a crash at any
point leaves all of them or none.
"""

from __future__ import annotations

import json
import uuid
from decimal import ROUND_CEILING, Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.accounts.service import EXCHANGE, HELD, TransactionKind, post
from reference_app.orders.models import OrderRow
from reference_app.orders.repository import OrderRepository
from reference_app.orders.states import OrderState, step
from reference_app.patterns import outbox, skip_locked_queue
from reference_app.patterns.money import round_money
from reference_app.portfolio.service import reserve, settle

CENT = Decimal("0.01")


async def locked(session: AsyncSession, order_id: int, owner_id: uuid.UUID | None = None) -> OrderRow | None:
    """Return an order, of this owner where one is named, and lock it until the caller's transaction ends."""
    return await OrderRepository(session).locked(order_id, owner_id)


async def fill(session: AsyncSession, order: OrderRow, quantity: int, price: Decimal) -> OrderRow:
    """Trade some of a locked order with the exchange: move cash and shares, and go on with the rest.

    Args:
        session: The caller's unit of work.
        order: The order as it was locked.
        quantity: Shares, at most those that are open.
        price: US dollars a share.
    """
    orders = OrderRepository(session)
    amount = round_money(price * quantity)
    following = OrderState.FILLED if quantity == order.open_quantity else OrderState.OPEN
    after = await orders.move(order.id, step(order.state, following), quantity)
    if order.hold_price is not None:
        kind, held, signed = TransactionKind.BUY, order.hold_price * quantity, quantity
        sides = {HELD: -held, EXCHANGE: amount, order.account_id: held - amount}
    else:
        kind, signed = TransactionKind.SELL, -quantity
        sides = {EXCHANGE: -amount, order.account_id: amount}
    entries = await post(session, kind, {account: side for account, side in sides.items() if side})
    transaction_id = next(iter(entries.values())).transaction_id
    await settle(session, order.account_id, order.instrument_id, signed)
    await orders.add_fill(order.id, transaction_id, signed, price, amount)
    if after.is_active:
        await put_job(session, after)
    await tell(session, "order.filled", after, quantity=str(quantity), price=str(price))
    return after


async def wait_in_book(session: AsyncSession, order: OrderRow, *, look_again_s: float) -> None:
    """Let a locked order wait until the exchange offers its price.

    Args:
        session: The caller's unit of work.
        order: The order as it was locked.
        look_again_s: Seconds until a matcher looks at it again.
    """
    if order.state == OrderState.OPEN:
        await put_job(session, order, delay_s=look_again_s)
        return
    after = await OrderRepository(session).move(order.id, step(order.state, OrderState.OPEN))
    await put_job(session, after, delay_s=look_again_s)
    await tell(session, "order.opened", after)


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


async def hold_difference(session: AsyncSession, before: OrderRow, after: OrderRow) -> None:
    """Hold more cash or reserve more shares for an order that was amended, or give some back."""
    if before.hold_price is None or after.hold_price is None:
        more = after.open_quantity - before.open_quantity
        if more:
            await reserve(session, after.owner_id, after.account_id, after.instrument_id, more)
        return
    difference = after.hold_price * after.open_quantity - before.hold_price * before.open_quantity
    if difference:
        kind = TransactionKind.HOLD if difference > 0 else TransactionKind.RELEASE
        await post(session, kind, {after.account_id: -difference, HELD: difference})


def hold_price_of(price: Decimal) -> Decimal:
    """Return the price rounded up to cents: what is held then covers every cost, however it is rounded."""
    return price.quantize(CENT, rounding=ROUND_CEILING)


def job_of(order: OrderRow) -> str:
    """Return the payload of the job that looks at this version of the order.

    With the version: whatever changes an active order puts a new job, and the job of the version before ends
    without doing anything. So an order that waits in the book has one job, however often it was amended.
    """
    return f"{order.id} {order.symbol} {order.version}"


async def put_job(session: AsyncSession, order: OrderRow, *, delay_s: float = 0.0) -> None:
    """Have a matcher look at this version of the order."""
    await skip_locked_queue.put(session, job_of(order), delay_s=delay_s)


async def tell(session: AsyncSession, topic: str, order: OrderRow, **more: str) -> None:
    """Write an event of the order to the outbox; last in a transaction, because it locks the order's key."""
    payload = {"order_id": order.id, "account_id": str(order.account_id), "symbol": order.symbol}
    payload |= {"state": order.state, "version": order.version, **more}
    await outbox.add(session, outbox.Event(f"order {order.id}", topic, json.dumps(payload)))
