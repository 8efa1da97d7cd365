"""What a matcher does with one order: fill it at the price of the exchange, or let it wait."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.market.problems import QuoteUnavailable
from reference_app.market.service import MarketService
from reference_app.orders import lifecycle
from reference_app.orders.models import OrderRow
from reference_app.orders.states import OrderState
from reference_app.patterns.money import round_money
from reference_app.patterns.skip_locked_queue import Job, put

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
        except QuoteUnavailable:  # no failure of the job: after those it waits longer and longer
            await put(session, job.payload, delay_s=self._look_again_s)
            return
        order = await lifecycle.locked(session, int(order_id))
        if order is None or not order.is_active or order.version != int(version):
            return  # cancelled, or amended: then the new version has a job of its own
        price = quote.ask if order.side == "buy" else quote.bid
        if _is_acceptable(order, price):
            await lifecycle.fill(session, order, min(order.open_quantity, SHARES_AT_ONCE), price)
        elif order.type == "limit":
            await lifecycle.wait_in_book(session, order, look_again_s=self._look_again_s)
        else:
            state = OrderState.CANCELLED if order.filled_quantity else OrderState.REJECTED
            await lifecycle.end(session, order, state)


def _is_acceptable(order: OrderRow, price: Decimal) -> bool:
    """Say whether the order takes the price; one that rounds to nothing is no trade."""
    if round_money(price) <= 0:
        return False
    if order.side == "sell":
        return order.limit_price is None or price >= order.limit_price
    highest = order.limit_price or order.hold_price
    return highest is not None and price <= highest
