"""SQL of positions. It never commits: the service owns the transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.infra.database.engine import driver_of
from reference_app.portfolio.models import Position

MAX_POSITIONS = 1000

#: One statement reads, decides and writes: two orders that sell the same shares meet at the row lock, and the
#: second finds them reserved. The owner is checked here because a sale moves no cash when it is placed.
RESERVE = """
UPDATE positions p SET reserved = reserved + $3
FROM accounts a
WHERE p.account_id = $1 AND p.instrument_id = $2 AND reserved + $3 BETWEEN 0 AND quantity
    AND a.id = p.account_id AND a.owner_id = $4
RETURNING p.quantity
"""
BUY = """
INSERT INTO positions (account_id, instrument_id, quantity, reserved) VALUES ($1, $2, $3, 0)
ON CONFLICT (account_id, instrument_id) DO UPDATE SET quantity = positions.quantity + excluded.quantity
"""
SELL = """
UPDATE positions SET quantity = quantity - $3, reserved = reserved - $3
WHERE account_id = $1 AND instrument_id = $2
"""


class PortfolioRepository:
    """Positions in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def positions(self, account_id: uuid.UUID) -> Sequence[Position]:
        """Return the positions of an account that are not empty, at most MAX_POSITIONS."""
        query = (
            select(Position)
            .where(Position.account_id == account_id, Position.quantity > 0)
            .order_by(Position.instrument_id)
            .limit(MAX_POSITIONS)
        )
        return (await self._session.scalars(query)).all()

    async def reserve(
        self, owner_id: uuid.UUID, account_id: uuid.UUID, instrument_id: int, quantity: int
    ) -> bool:
        """Reserve shares (below zero: give them back) if there are so many that are free."""
        driver = await driver_of(self._session)
        found = await driver.fetchval(RESERVE, account_id, instrument_id, quantity, owner_id)
        return found is not None

    async def settle(self, account_id: uuid.UUID, instrument_id: int, quantity: int) -> None:
        """Add what was bought, or take away (below zero) what was sold from the reserved shares."""
        driver = await driver_of(self._session)
        await driver.execute(BUY if quantity > 0 else SELL, account_id, instrument_id, abs(quantity))
