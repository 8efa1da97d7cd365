"""Candles as lines of text, CSV or JSON Lines: what an import reads, and the columns that an export writes.

A line is matched as a whole by one pattern: a model would take five times as long, and an import has millions
of them. Only a line that does not match is looked at by the model, which knows why.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from reference_app.market.models import CandleRecord
from reference_app.patterns.money import Amount, text_pattern

COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume", "adjusted_close")
CSV_HEADER = ",".join(COLUMNS)
MAX_LINE_BYTES = 1024
MAX_VOLUME = 10**18
#: As many decimals as the source has. Compared and stored, never reckoned with: that holds 28 digits in all.
ADJUSTED_SCALE = 15

_PRICE = text_pattern(4).strip("^$").replace("-?", "", 1).replace("(", "(?:")
_ADJUSTED = text_pattern(ADJUSTED_SCALE).strip("^$").replace("-?", "", 1).replace("(", "(?:")
_LINE = re.compile(
    rf"([A-Z][A-Z0-9.]{{0,9}}),([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}),({_PRICE}),({_PRICE}),({_PRICE}),({_PRICE}),"
    rf"(0|[1-9][0-9]{{0,17}}),({_ADJUSTED})"
)
#: There are few days and many candles of each.
_day = lru_cache(maxsize=10_000)(dt.date.fromisoformat)


def _iso(value: str) -> str:
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) is None:
        raise ValueError("expected a date such as 2012-05-18")
    dt.date.fromisoformat(value)
    return value


Price = Annotated[Decimal, Amount(scale=4, positive=True)]


class CandleIn(BaseModel):
    """One candle of an import, in US dollars a share; prices are strings with at most four decimals."""

    model_config = ConfigDict(extra="forbid")

    symbol: str = Field(pattern="^[A-Z][A-Z0-9.]{0,9}$", examples=["AAPL"])
    date: Annotated[str, AfterValidator(_iso)] = Field(examples=["2012-05-18"])
    open: Price
    high: Price
    low: Price
    close: Price
    volume: int = Field(strict=True, ge=0, lt=MAX_VOLUME)
    adjusted_close: str = Field(pattern=f"^{_ADJUSTED}$", examples=["38.2318"])

    @model_validator(mode="after")
    def _in_range(self) -> CandleIn:
        if not (self.low <= min(self.open, self.close) and self.high >= max(self.open, self.close)):
            raise ValueError("low must be the lowest and high the highest price")
        if Decimal(self.adjusted_close) <= 0:
            raise ValueError("adjusted_close must be above zero")
        return self


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[bytes]]:
    """Yield the lines of a body, those of each chunk together; a line without an end is the last.

    Raises:
        ValueError: A line is longer than 1024 bytes: this is no list of candles, and memory has an end.
    """
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        yield lines
    if rest:
        yield [rest]


def read_csv(line: str) -> CandleRecord:
    """Return the candle in a line of CSV, or raise a ValueError that says why there is none."""
    found = _LINE.fullmatch(line)
    if found is None:
        # Quotes and spaces are allowed, and rare.
        values = next(csv.reader([line], strict=True), [])
        if len(values) != len(COLUMNS):
            raise ValueError(f"expected {len(COLUMNS)} values, found {len(values)}")
        row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
        row["volume"] = int(row["volume"]) if re.fullmatch("[0-9]{1,18}", row["volume"]) else row["volume"]
        return _checked(row)
    return _record(found)


def read_json(line: str) -> CandleRecord:
    """Return the candle in a line of JSON, or raise a ValueError that says why there is none."""
    try:
        row = json.loads(line)
        # One more than needed would be left out without a word, and a price that is a number has lost digits.
        if len(row) == len(COLUMNS) and type(row["volume"]) is int:
            parts = (row["symbol"], row["date"], row["open"], row["high"], row["low"], row["close"])
            text = ",".join((*parts, str(row["volume"]), row["adjusted_close"]))
            if (found := _LINE.fullmatch(text)) is not None:
                return _record(found)
    except (KeyError, TypeError):
        pass
    except (ValueError, RecursionError):
        raise ValueError("this is no JSON") from None
    return _checked(row)


def _record(found: re.Match[str]) -> CandleRecord:
    symbol, date, *prices, volume, adjusted = found.groups()
    first, high, low, last = map(Decimal, prices)
    adjusted_close = Decimal(adjusted)
    if not (0 < low <= first <= high and low <= last <= high and adjusted_close > 0):
        raise ValueError("prices must be above zero, low the lowest and high the highest")
    return symbol, _day(date), first, high, low, last, int(volume), adjusted_close


def _checked(row: object) -> CandleRecord:
    """Let the model say what is wrong; it accepts what the pattern does not, such as quoted values."""
    try:
        it = CandleIn.model_validate(row)
    except ValidationError as error:
        # Where and why, never the value.
        reasons = [
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}".lstrip(": ") for item in error.errors()
        ]
        raise ValueError("; ".join(reasons[:3])) from None
    day = dt.date.fromisoformat(it.date)
    return it.symbol, day, it.open, it.high, it.low, it.close, it.volume, Decimal(it.adjusted_close)


async def read_candles(
    lines: AsyncGenerator[list[bytes]], read: Callable[[str], CandleRecord], symbols: Collection[str]
) -> AsyncGenerator[CandleRecord | ValueError]:
    """Yield a record or what is wrong with it, for each line.

    Args:
        lines: From `split_lines`.
        read: `read_csv` or `read_json`.
        symbols: Of the instruments that there are.
    """
    async for batch in lines:
        for line in batch:
            try:
                if len(line) > MAX_LINE_BYTES:
                    raise ValueError(f"the line is longer than {MAX_LINE_BYTES} bytes")
                record = read(line.decode().removesuffix("\r"))
                yield record if record[0] in symbols else ValueError("symbol: there is no such instrument")
            except UnicodeDecodeError:
                yield ValueError("this is no UTF-8")
            except csv.Error:
                yield ValueError("this is no CSV")
            except ValueError as error:
                yield error
