"""What the portfolio says on the wire. Amounts are strings: a JSON number would lose digits."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from reference_app.patterns.money import Money, Price

AccountId = Annotated[uuid.UUID, Path(description="As `POST /v1/accounts` returned it.")]


class PositionOut(BaseModel):
    """The shares of one instrument, and what the exchange would give for them now."""

    model_config = ConfigDict(from_attributes=True)

    symbol: str = Field(examples=["AAPL"])
    quantity: int
    reserved: int = Field(description="Of these, so many will be sold by orders that are not final.")
    price: Price | None = Field(description="The bid of the exchange; null where it gave none in time.")
    value: Money | None = Field(description="Null where there is no price.")


class PortfolioOut(BaseModel):
    """Cash and positions of one account, at one moment."""

    model_config = ConfigDict(from_attributes=True)

    account_id: uuid.UUID
    cash: Money = Field(description="Without what is held for open orders.")
    positions: list[PositionOut]
    positions_value: Money = Field(description="Of the positions that have a price.")
    is_complete: bool = Field(description="False: a price is missing, and there is no total.")
    missing: list[str] = Field(description="The symbols without a price.")
    total: Money | None = Field(description="Cash and all positions; null where a price is missing.")
