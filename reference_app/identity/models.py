"""The table of users."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, String, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from reference_app.infra.database.base import Base, Timestamp

NAME_PATTERN = "^[a-z][a-z0-9_.-]{1,31}$"


class User(Base):
    """Somebody who can sign in."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint(f"name ~ '{NAME_PATTERN}'", name="name"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    #: What argon2 made of the password, with its parameters and salt.
    password_hash: Mapped[str] = mapped_column(String(200))
    #: What tokens of this user may carry at most.
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(30)))
    joined_at: Mapped[dt.datetime] = mapped_column(Timestamp, server_default=func.now())

    def __repr__(self) -> str:
        return f"User({self.name!r})"  # a generated one would put the hash into logs
