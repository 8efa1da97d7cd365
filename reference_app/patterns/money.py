# /// script
# requires-python = ">=3.11"
# dependencies = ["pydantic>=2.12"]
# ///
"""Money that keeps every digit from the wire to the row and back.

Use it when an API takes or returns amounts or prices. A JSON number is cut to about 17 digits before
`Decimal` sees it, `Decimal` itself accepts "NaN", "1e3" and "1_000", and `NUMERIC(20, 2)` rounds silently. So
an amount is a plain decimal string on the wire, a `Decimal` of bounded scale inside; rounding has one place.

Do not use it for quantities that are measured and not counted (a latency, a ratio): there `float` is right.

Limits: one scale for each type and no currency. `Decimal` arithmetic keeps 28 digits: a longer product is
rounded.

Instead: `py-moneyed` with `babel`, for many currencies, conversion and formatting by locale.

Example:
    >>> to_money("19.90")
    Decimal('19.90')
    >>> round_money(Decimal("10.00") / 3)
    Decimal('3.33')
    >>> split_money(Decimal("100.00"), parts=3)
    [Decimal('33.34'), Decimal('33.33'), Decimal('33.33')]
    >>> from pydantic import BaseModel
    >>> class Payment(BaseModel):
    ...     amount: Money
    >>> Payment.model_validate_json('{"amount": "0.10"}').model_dump_json()
    '{"amount":"0.10"}'

Source: IEEE 754-2008 for half-even rounding; RFC 8259 section 6 for the precision of JSON numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import cache
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

#: Digits before the point, and after it at most: together the 28 that `Decimal` arithmetic keeps.
MAX_INTEGER_DIGITS = MAX_SCALE = 14


class InvalidMoney(ValueError):
    """The value is not an amount of the asked scale; the message never repeats the value."""


def to_money(value: object, *, scale: int = 2) -> Decimal:
    """Return the value as an exact amount with `scale` digits after the point.

    Args:
        value: A plain decimal string ("19.90") or a Decimal. A number is refused: a float has lost digits.
        scale: Digits after the point, 0 (yen) to 14.

    Raises:
        InvalidMoney: The value is of another type or form, too large, or needs more digits than `scale`.
        ValueError: There is no such scale.
    """
    unit = _unit(scale)
    if type(value) is Decimal and value.same_quantum(unit) and value.adjusted() < MAX_INTEGER_DIGITS:
        return value or abs(value)  # nothing to do, as for most rows
    if not isinstance(value, str | Decimal):
        raise InvalidMoney('expected an amount as a string, such as "19.90"; a JSON number loses digits')
    # fullmatch: with match, `$` would let a trailing newline through.
    if isinstance(value, str) and re.fullmatch(text_pattern(scale), value) is None:
        raise InvalidMoney(
            f"expected a decimal with at most {MAX_INTEGER_DIGITS} digits before and {scale} after "
            "the point, without exponent, separators or spaces"
        )
    amount = Decimal(value)
    if not amount.is_finite() or abs(amount) >= 10**MAX_INTEGER_DIGITS:
        raise InvalidMoney(f"expected a finite amount below 10^{MAX_INTEGER_DIGITS}")
    exact = round_money(amount, scale=scale)
    if exact != amount:
        raise InvalidMoney(f"expected at most {scale} digits after the point; round it first")
    return exact


def text_pattern(scale: int, *, positive: bool = False, anchored: bool = True) -> str:
    r"""Return the pattern of an amount as text; [0-9] because \d also matches the digits of other scripts.

    It has no look-ahead, which the engines of many clients (Go, Rust, RE2) do not know.

    Args:
        scale: Digits after the point; a text may have more of them than an amount.
        positive: Leave out zero and everything below it.
        anchored: False for a place in a longer pattern: without a sign, and without groups that capture.

    Raises:
        ValueError: `scale` is below 0.
    """
    if scale < 0:
        raise ValueError("scale must be 0 or more")
    whole = f"[1-9][0-9]{{0,{MAX_INTEGER_DIGITS - 1}}}"
    fraction = rf"(?:\.[0-9]{{1,{scale}}})?" if scale else ""
    if not anchored:
        return f"(?:0|{whole}){fraction}"
    if not positive:
        return f"^-?(?:0|{whole}){fraction}$"
    # Below 1, one of the digits is not zero: the first, or the second, and so on.
    below_1 = "".join(rf"|0\.0{{{zeros}}}[1-9][0-9]{{0,{scale - zeros - 1}}}" for zeros in range(scale))
    return f"^(?:{whole}{fraction}{below_1})$"


@cache
def _unit(scale: int) -> Decimal:
    """Return the smallest amount of a scale."""
    if not 0 <= scale <= MAX_SCALE:
        raise ValueError(f"scale must be 0 to {MAX_SCALE}, got {scale!r}")
    return Decimal((0, (1,), -scale))


def round_money(value: Decimal, *, scale: int = 2) -> Decimal:
    """Round to `scale` digits, half to even: the one place where digits may be lost.

    Half to even does not drift; half up adds half a cent in one direction each time.

    Raises:
        InvalidMoney: The value is not finite, or has more digits than `Decimal` arithmetic keeps.
    """
    try:
        rounded = value.quantize(_unit(scale), rounding=ROUND_HALF_EVEN)
    except InvalidOperation:
        rounded = Decimal("NaN")
    if not rounded.is_finite():
        raise InvalidMoney("expected a finite amount of at most 28 digits")
    return rounded if rounded else abs(rounded)  # no "-0.00" on a statement


def split_money(whole: Decimal, *, parts: int, scale: int = 2) -> list[Decimal]:
    """Split an amount into shares that differ by one smallest unit at most and sum to the whole.

    Args:
        whole: An amount of the given scale.
        parts: How many shares, at least 1.
        scale: Digits after the point.

    Raises:
        InvalidMoney: The whole has more digits than `scale`, or `parts` is below 1.
    """
    if parts < 1:
        raise InvalidMoney("expected 1 part or more")
    units = int(to_money(whole, scale=scale).scaleb(scale))
    share, rest = divmod(abs(units), parts)
    shares = [share + 1] * rest + [share] * (parts - rest)
    sign = -1 if units < 0 else 1
    return [Decimal(sign * share).scaleb(-scale) for share in shares]


@dataclass(frozen=True)
class Amount:
    """Annotation for pydantic: a string in JSON and OpenAPI, a `Decimal` with `scale` digits inside.

    Attributes:
        scale: Digits after the point, 0 to 14.
        positive: Accept amounts above zero only; the pattern in OpenAPI says so too.

    Raises:
        ValueError: There is no such scale.
    """

    scale: int
    positive: bool = False

    def __post_init__(self) -> None:
        _unit(self.scale)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            self._validate,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: format(to_money(value, scale=self.scale), "f"),
                return_schema=core_schema.str_schema(),
                when_used="json",  # model_dump() keeps the Decimal for the service
            ),
        )

    def _validate(self, value: object) -> Decimal:
        amount = to_money(value, scale=self.scale)
        if self.positive and amount <= 0:
            raise InvalidMoney("expected an amount above zero")
        return amount

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": text_pattern(self.scale, positive=self.positive)}


Money = Annotated[Decimal, Amount(scale=2)]
PositiveMoney = Annotated[Decimal, Amount(scale=2, positive=True)]
Price = Annotated[Decimal, Amount(scale=4)]
