"""What the portfolio does: shares are reserved, bought and sold in the transaction of an order."""

from __future__ import annotations

import uuid

from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.portfolio.problems import InsufficientPosition
from reference_app.portfolio.repository import PortfolioRepository


async def reserve(
    session: AsyncSession, owner_id: uuid.UUID, account_id: uuid.UUID, instrument_id: int, quantity: int
) -> None:
    """Reserve shares for an order that sells, inside the caller's transaction.

    Args:
        session: The caller's.
        owner_id: Whose the account must be.
        account_id: That has the shares.
        instrument_id: Of the shares.
        quantity: How many; below zero they are given back.

    Raises:
        InsufficientPosition: So many are not free.
    """
    if not await PortfolioRepository(session).reserve(owner_id, account_id, instrument_id, quantity):
        raise InsufficientPosition("The account has too few shares that no other order sells.")


async def settle(session: AsyncSession, account_id: uuid.UUID, instrument_id: int, quantity: int) -> None:
    """Add shares that were bought, or take away (below zero) reserved ones that were sold."""
    await PortfolioRepository(session).settle(account_id, instrument_id, quantity)
