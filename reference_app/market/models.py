"""The table of instruments."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Identity, String
from sqlalchemy.orm import Mapped, mapped_column

from reference_app.infra.database.base import Base

#: How the desk writes a symbol, in the database, on the wire and in files: for a longer pattern, and alone.
SYMBOL = "[A-Z][A-Z0-9.]{0,9}"
SYMBOL_PATTERN = f"^{SYMBOL}$"


class Instrument(Base):
    """A share that can be traded."""

    __tablename__ = "instruments"
    __table_args__ = (CheckConstraint(f"symbol ~ '{SYMBOL_PATTERN}'", name="symbol"),)

    # Not the symbol: companies change it (FB became META), and a 4-byte key keeps the candles small.
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    symbol: Mapped[str] = mapped_column(String(10), unique=True)
    name: Mapped[str] = mapped_column(String(100))
