"""The table of positions: how many shares an account has, and how many of them open orders will sell."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from reference_app.infra.database.base import Base


class Position(Base):
    """The shares of one instrument in one account.

    The quantity is the sum of the fills of its orders, kept up to date in their transactions, so that selling
    need not add them up.
    """

    __tablename__ = "positions"
    __table_args__ = (
        # Nobody sells what they do not have, or sells it twice; this holds even when the service is wrong.
        CheckConstraint("reserved >= 0 AND reserved <= quantity", name="reserved"),
    )

    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    instrument_id: Mapped[int] = mapped_column(ForeignKey("instruments.id"), primary_key=True)
    quantity: Mapped[int] = mapped_column(BigInteger)
    reserved: Mapped[int] = mapped_column(BigInteger)
