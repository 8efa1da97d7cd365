"""The table of watchlists."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from reference_app.infra.database.base import Base, Timestamp

MAX_SYMBOLS = 100


class Watchlist(Base):
    """The instruments a user looks at, in the order the user has given them."""

    __tablename__ = "watchlists"
    __table_args__ = (
        CheckConstraint(f"cardinality(symbols) <= {MAX_SYMBOLS}", name="symbols"),
        CheckConstraint("version > 0", name="version"),
        Index(None, "owner_id", "id", unique=True),
    )

    # Random, and chosen by the client where it puts a list: it stands in URLs and must not be guessable.
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(100))
    note: Mapped[str | None] = mapped_column(String(500))
    symbols: Mapped[list[str]] = mapped_column(ARRAY(String(10)))
    version: Mapped[int]
    updated_at: Mapped[dt.datetime] = mapped_column(Timestamp, server_default=func.now())
