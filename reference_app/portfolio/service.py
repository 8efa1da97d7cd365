"""What the portfolio does: shares move with the orders, and somebody asks what they are worth."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.accounts.service import account_of
from reference_app.infra.database.engine import Sessions
from reference_app.infra.process.resources import Resources
from reference_app.market.problems import QuoteUnavailable
from reference_app.market.service import MarketService
from reference_app.patterns.bounded_fan_out import Failed, FanOut
from reference_app.patterns.money import round_money
from reference_app.portfolio.problems import InsufficientPosition
from reference_app.portfolio.repository import PortfolioRepository

#: How many quotes all valuations of a worker ask for at once, and for how long one valuation waits.
QUOTES_AT_ONCE = 10
DEADLINE_S = 1.0


@dataclass(frozen=True)
class ValuedPosition:
    """Shares with their price, which is None where the exchange gave none in time."""

    symbol: str
    quantity: int
    reserved: int
    price: Decimal | None

    @property
    def value(self) -> Decimal | None:
        """What the exchange would give for them."""
        return None if self.price is None else round_money(self.price * self.quantity)


@dataclass(frozen=True)
class Portfolio:
    """Cash and positions of one account. A price that is missing is said, and never counted as nothing."""

    account_id: uuid.UUID
    cash: Decimal
    positions: Sequence[ValuedPosition]

    @property
    def missing(self) -> list[str]:
        """The symbols without a price."""
        return [position.symbol for position in self.positions if position.price is None]

    @property
    def is_complete(self) -> bool:
        """Whether every position has a price."""
        return not self.missing

    @property
    def positions_value(self) -> Decimal:
        """The value of the positions that have a price."""
        return sum((position.value or Decimal(0) for position in self.positions), Decimal("0.00"))

    @property
    def total(self) -> Decimal | None:
        """Cash and positions, or None where a price is missing: a smaller number would pass for a loss."""
        return self.cash + self.positions_value if self.is_complete else None


class PortfolioService:
    """Values accounts; one instance serves a whole process, so its bound on quotes holds for all requests.

    Args:
        sessions: The session factory of the process.
        market: Knows instruments and prices.
        deadline_s: After this a valuation is given without the prices that have not come.
    """

    def __init__(self, sessions: Sessions, market: MarketService, *, deadline_s: float = DEADLINE_S) -> None:
        self._sessions, self._market, self._deadline_s = sessions, market, deadline_s
        # No timeout for each quote: the client of the exchange has its own.
        self._quotes = FanOut(limit=QUOTES_AT_ONCE, timeout_s=None)

    async def portfolio(self, owner_id: uuid.UUID, account_id: uuid.UUID) -> Portfolio:
        """Return an account of the user with the value of its positions.

        Three statements, however many positions: account, positions, instruments. The connection is back in
        the pool before the exchange is asked.

        Raises:
            AccountNotFound: The user has no account with this id.
        """
        async with self._sessions() as session:
            # Cash and shares of one moment: at READ COMMITTED a fill between the two statements would be
            # missing in one of them and counted in the other.
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            account = await account_of(session, account_id, owner_id)
            rows = await PortfolioRepository(session).positions(account_id)
        symbols = await self._market.symbols([row.instrument_id for row in rows])
        prices = await self._prices([symbols[row.instrument_id] for row in rows])
        positions = [
            ValuedPosition(symbols[row.instrument_id], row.quantity, row.reserved, price)
            for row, price in zip(rows, prices, strict=True)
        ]
        positions.sort(key=lambda position: position.symbol)
        return Portfolio(account_id, account.balance or Decimal(0), positions)

    async def _prices(self, symbols: Sequence[str]) -> list[Decimal | None]:
        """Ask for all prices at once, within bounds; one that fails leaves the others."""

        async def bid(symbol: str) -> Decimal:
            return (await self._market.quote(symbol)).bid

        outcomes = await self._quotes.outcomes(bid, symbols, self._deadline_s)
        for outcome in outcomes:
            if isinstance(outcome, Failed) and not isinstance(outcome.error, QuoteUnavailable | TimeoutError):
                raise outcome.error  # a fault of ours: hidden among missing prices, nobody would find it
        return [None if isinstance(outcome, Failed) else outcome for outcome in outcomes]


@asynccontextmanager
async def open_service(resources: Resources) -> AsyncIterator[PortfolioService]:
    """Give the service to a process."""
    yield PortfolioService(resources["sessions"], resources["services"][MarketService])


async def reserve(
    session: AsyncSession, owner_id: uuid.UUID, account_id: uuid.UUID, instrument_id: int, quantity: int
) -> None:
    """Reserve shares for an order that sells, inside the caller's transaction.

    Args:
        session: An open unit of work; the caller commits it.
        owner_id: The user who must own the account.
        account_id: The account that has the shares.
        instrument_id: What the shares are of.
        quantity: How many shares; below zero they are given back.

    Raises:
        InsufficientPosition: So many are not free.
    """
    if not await PortfolioRepository(session).reserve(owner_id, account_id, instrument_id, quantity):
        raise InsufficientPosition("The account has too few shares that no other order sells.")


async def settle(session: AsyncSession, account_id: uuid.UUID, instrument_id: int, quantity: int) -> None:
    """Add shares that were bought, or take away (below zero) reserved ones that were sold."""
    await PortfolioRepository(session).settle(account_id, instrument_id, quantity)
