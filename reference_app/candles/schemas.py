"""What candles are on the wire. Prices are strings: a JSON number would lose digits."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from reference_app.market.service import SYMBOL_PATTERN
from reference_app.patterns.money import Price

Symbol = Annotated[str, Path(pattern=SYMBOL_PATTERN, examples=["AAPL"])]
Year = Annotated[int, Path(ge=1900, le=2200, examples=[2012])]


def _iso(value: Any) -> Any:
    # pydantic also takes "0" for 1970-01-01; the API promises ISO dates and nothing else.
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) is None:
        raise ValueError("expected a date such as 2012-05-18")
    return value


IsoDate = Annotated[dt.date, BeforeValidator(_iso)]


class CandleOut(BaseModel):
    """One trading day of one instrument, in US dollars a share."""

    model_config = ConfigDict(from_attributes=True)

    date: dt.date
    open: Price
    high: Price
    low: Price
    close: Price
    volume: int
    adjusted_close: Decimal = Field(description="After splits and dividends, as the source gives it.")


class QuoteOut(BaseModel):
    """The newest price: the close of the last trading day that is known."""

    symbol: str = Field(examples=["AAPL"])
    price: Price
    as_of: dt.date


class BadRowOut(BaseModel):
    """A row that was left out."""

    row: int
    reason: str


class ImportReport(BaseModel):
    """What an import did."""

    changed: int
    bad_rows: list[BadRowOut]
