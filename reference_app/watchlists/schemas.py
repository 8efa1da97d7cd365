"""What watchlists say on the wire."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from reference_app.market.service import SYMBOL_PATTERN

WatchlistId = Annotated[uuid.UUID, Path(description="Chosen by who puts the list: make a new random one.")]
# No control characters: PostgreSQL cannot store a NUL, and none of the others belongs in a name.
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Note = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
Symbols = Annotated[
    list[Annotated[str, StringConstraints(pattern=SYMBOL_PATTERN)]],
    Field(max_length=100, examples=[["AAPL", "IBM"]], json_schema_extra={"uniqueItems": True}),
]


def _unique(symbols: Any) -> Any:
    if symbols is not None and len(set(symbols)) < len(symbols):
        raise ValueError("each symbol once")
    return symbols


class WatchlistIn(BaseModel):
    """A whole list: what is left out is as if it had never been there."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(examples=["Big ones"])
    note: Note | None = Field(default=None, examples=["since 2010"])
    symbols: Symbols = Field(default_factory=list)

    _each_once = field_validator("symbols")(_unique)


class WatchlistPatch(BaseModel):
    """A JSON Merge Patch (RFC 7396): what is left out stays, null takes the note away."""

    model_config = ConfigDict(extra="forbid")

    # They have no None: these can be left out, and cannot be taken away.
    name: Name = Field(default="", examples=["Big ones"])
    note: Note | None = None
    symbols: Symbols = Field(default_factory=list)

    _each_once = field_validator("symbols")(_unique)

    def changes(self) -> dict[str, Any]:
        """Return what the client named, null included."""
        return self.model_dump(exclude_unset=True)


class WatchlistOut(BaseModel):
    """A list of instruments."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    name: str
    note: str | None
    symbols: list[str]
    updated_at: dt.datetime
