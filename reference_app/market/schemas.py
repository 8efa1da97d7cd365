"""What the market says on the wire about instruments; `quotes.py` has what it says about prices."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from reference_app.market.models import SYMBOL_PATTERN

Symbol = Annotated[str, Path(pattern=SYMBOL_PATTERN, examples=["AAPL"])]


class InstrumentOut(BaseModel):
    """A share that can be traded."""

    model_config = ConfigDict(from_attributes=True)

    symbol: str = Field(examples=["AAPL"])
    name: str = Field(examples=["Apple Inc."])
