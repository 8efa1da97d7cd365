"""What a matcher does with one order: fill it at the price of the exchange, or let it wait."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.accounts.service import EXCHANGE, HELD, TransactionKind, post
from reference_app.market.problems import QuoteUnavailable
from reference_app.market.service import MarketService
from reference_app.orders.models import OrderRow
from reference_app.orders.repository import OrderRepository
from reference_app.orders.service import end, job_of, tell
from reference_app.orders.states import OrderState, step
from reference_app.patterns.money import round_money
from reference_app.patterns.skip_locked_queue import Job, put
from reference_app.portfolio.service import settle

#: Shares that the exchange gives or takes at once; a larger order is filled in several steps.
SHARES_AT_ONCE = 10_000
#: After so many seconds an order that waits in the book is looked at again.
LOOK_AGAIN_S = 5.0


class Matching:
    """Handles the jobs of orders; what it writes commits with the end of the job.

    Args:
        market: Knows the prices.
        look_again_s: Seconds until an order that waits is looked at again.
    """

    def __init__(self, market: MarketService, *, look_again_s: float = LOOK_AGAIN_S) -> None:
        self._market, self._look_again_s = market, look_again_s

    async def __call__(self, session: AsyncSession, job: Job) -> None:
        """Look at the order of a job."""
        order_id, symbol, version = job.payload.split()
        # Before the first statement: the session has no connection yet, and none waits for the exchange.
        try:
            quote = await self._market.quote(symbol)
        except QuoteUnavailable:  # no failure of the job: after five of those it would be given up
            await put(session, job.payload, delay_s=self._look_again_s)
            return
        order = await OrderRepository(session).locked(int(order_id))
        if order is None or not order.is_active or order.version != int(version):
            return  # cancelled, or amended: then the new version has a job of its own
        price = quote.ask if order.side == "buy" else quote.bid
        if _is_acceptable(order, price):
            await self._fill(session, order, price)
        elif order.type == "limit":
            await self._wait(session, order, job)
        else:
            await end(session, order, OrderState.CANCELLED if order.filled_quantity else OrderState.REJECTED)

    async def _fill(self, session: AsyncSession, order: OrderRow, price: Decimal) -> None:
        """Trade what the exchange takes, move cash and shares, and go on with the rest."""
        orders = OrderRepository(session)
        quantity = min(order.open_quantity, SHARES_AT_ONCE)
        amount = round_money(price * quantity)
        following = OrderState.FILLED if quantity == order.open_quantity else OrderState.OPEN
        after = await orders.move(order.id, step(order.state, following), quantity)
        signed = quantity
        if order.hold_price is not None:
            kind, held = TransactionKind.BUY, order.hold_price * quantity
            sides = {HELD: -held, EXCHANGE: amount, order.account_id: held - amount}
        else:
            kind, signed = TransactionKind.SELL, -quantity
            sides = {EXCHANGE: -amount, order.account_id: amount}
        entries = await post(session, kind, {account: side for account, side in sides.items() if side})
        transaction_id = next(iter(entries.values())).transaction_id
        await settle(session, order.account_id, order.instrument_id, signed)
        await orders.add_fill(order.id, transaction_id, signed, price, amount)
        if after.is_active:
            await put(session, job_of(after))
        await tell(session, "order.filled", after, quantity=str(quantity), price=str(price))

    async def _wait(self, session: AsyncSession, order: OrderRow, job: Job) -> None:
        if order.state == OrderState.OPEN:
            await put(session, job.payload, delay_s=self._look_again_s)
            return
        after = await OrderRepository(session).move(order.id, step(order.state, OrderState.OPEN))
        await put(session, job_of(after), delay_s=self._look_again_s)
        await tell(session, "order.opened", after)


def _is_acceptable(order: OrderRow, price: Decimal) -> bool:
    """Say whether the order takes the price; one that rounds to nothing is no trade."""
    if round_money(price) <= 0:
        return False
    if order.side == "sell":
        return order.limit_price is None or price >= order.limit_price
    highest = order.limit_price or order.hold_price
    return highest is not None and price <= highest
