"""What all tables have in common: the base of the models, and the type of a moment."""

from __future__ import annotations

from typing import cast

from sqlalchemy import MetaData, Table, inspect
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import DeclarativeBase

#: A moment. Without its time zone, PostgreSQL would read it in that of whoever asks.
Timestamp = TIMESTAMP(timezone=True)


class Base(DeclarativeBase):
    """The base of all models; the naming convention keeps constraint names the same in every database."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )


def table_of(model: type[Base]) -> Table:
    """Return the table of a model; its type says no more than that it can be selected from."""
    return cast(Table, inspect(model).local_table)
