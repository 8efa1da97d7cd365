"""Candles as lines of text, CSV or JSON Lines: what an import reads, and the columns that an export writes.

An import has millions of lines, so a block of them is matched as a whole by one pattern, in a microsecond a
line: what matches is CSV that PostgreSQL can read by itself (`upload.py`). In any other block each
line is matched alone and made values of, which takes ten times as long; and only a line that does not match
is looked at by the model, which takes five times as long again and knows why.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from reference_app.candles.models import CandleFormat, CandleRecord
from reference_app.market.service import SYMBOL, SYMBOL_PATTERN
from reference_app.patterns.money import Amount, text_pattern

COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume", "adjusted_close")
CSV_HEADER = ",".join(COLUMNS)
MAX_LINE_BYTES = 1024
#: Some thousand lines: few round trips for each, and little memory.
BLOCK_BYTES = 256 * 1024
MAX_VOLUME = 10**18
#: The source has so many decimals, one more than `money` knows: these values are compared and stored, and
#: nothing is computed with them.
ADJUSTED_SCALE = 15

_PRICE = text_pattern(4, anchored=False)
_ADJUSTED = rf"(?:0|[1-9][0-9]{{0,13}})(?:\.[0-9]{{1,{ADJUSTED_SCALE}}})?"
_FIELDS = (
    SYMBOL,
    "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    *[_PRICE] * 4,
    "(?:0|[1-9][0-9]{0,17})",
    _ADJUSTED,
)
_LINE = re.compile(",".join(f"({field})" for field in _FIELDS))
#: Possessive (`*+`): it never goes back to a line that has matched.
_PLAIN_CSV = re.compile(rf"(?:{','.join(_FIELDS)}\n)*+".encode())
#: JSON as programs write it: every name once, in our order, and nothing that would need quotes in CSV.
_PLAIN_JSON = re.compile(
    rb"\{"
    + rb", ?".join(
        rb'"%b": ?' % name.encode() + (rb"([0-9]+)" if name == "volume" else rb'"([^"\\,\n]*)"')
        for name in COLUMNS
    )
    + rb"\}\n"
)
_AS_CSV = b",".join(rb"\%d" % number for number in range(1, len(COLUMNS) + 1)) + b"\n"
#: A day is parsed once for the many candles that it has.
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

    symbol: str = Field(pattern=SYMBOL_PATTERN, examples=["AAPL"])
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


async def split_blocks(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield a body in blocks of whole lines; each line ends with a line feed, also the last.

    Raises:
        ValueError: A line is longer than 1024 bytes: this is no list of candles, and memory has an end.
    """
    block = bytearray()
    async for chunk in chunks:
        block += chunk
        end = block.rfind(b"\n") + 1
        if len(block) - end > MAX_LINE_BYTES:
            raise ValueError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        if end >= BLOCK_BYTES:
            yield bytes(block[:end])
            del block[:end]
    if block:
        yield bytes(block) if block.endswith(b"\n") else bytes(block) + b"\n"


def plain_csv(block: bytes) -> bytes | None:
    """Return the block if each line is a candle in form; its values may still be none, such as 2013-02-30."""
    block = block.replace(b"\r\n", b"\n")
    return block if _PLAIN_CSV.fullmatch(block) else None


def plain_json(block: bytes) -> bytes | None:
    """Return the block as CSV if each line is a candle in form, as JSON of the usual kind."""
    block = block.replace(b"\r\n", b"\n")
    lines, count = _PLAIN_JSON.subn(_AS_CSV, block)
    return plain_csv(lines) if count == block.count(b"\n") else None


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
        # A field too many would be ignored without a word, and a price that is a JSON number has lost digits.
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


@dataclass(frozen=True)
class LineFormat:
    """How candles are written.

    Attributes:
        read: Returns the candle of one line, or raises a ValueError that says why there is none.
        plain: Returns a block as CSV that PostgreSQL can read, or None where a line is not that plain.
        header: The first line; None where a file has no header.
    """

    read: Callable[[str], CandleRecord]
    plain: Callable[[bytes], bytes | None]
    header: str | None = None


LINE_FORMATS = {
    CandleFormat.CSV: LineFormat(read_csv, plain_csv, CSV_HEADER),
    CandleFormat.JSON: LineFormat(read_json, plain_json),
}


def read_candle(
    line: bytes, read: Callable[[str], CandleRecord], symbols: Collection[str]
) -> CandleRecord | ValueError:
    """Return the candle in a line, or what is wrong with it.

    Args:
        line: The line without its line feed.
        read: Returns the candle of one line, as `LineFormat.read` does.
        symbols: The symbols of all instruments.
    """
    try:
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"the line is longer than {MAX_LINE_BYTES} bytes")
        record = read(line.decode().removesuffix("\r"))
    except UnicodeDecodeError:
        return ValueError("this is no UTF-8")
    except csv.Error:
        return ValueError("this is no CSV")
    except ValueError as error:
        return error
    return record if record[0] in symbols else ValueError("symbol: there is no such instrument")
