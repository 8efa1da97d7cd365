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
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

#: Digits before the point. 14 + 4 digits stay far below the 28 that `Decimal` arithmetic keeps.
MAX_INTEGER_DIGITS = 14
_UNITS = [Decimal(1).scaleb(-scale) for scale in range(15)]


class InvalidMoney(ValueError):
    """The value is not an amount of the asked scale; the message never repeats the value."""


def to_money(value: object, *, scale: int = 2) -> Decimal:
    """Return the value as an exact amount with `scale` digits after the point.

    Args:
        value: A plain decimal string ("19.90") or a Decimal. A number is refused: a float has lost digits.
        scale: Digits after the point.

    Raises:
        InvalidMoney: The value is of another type or form, too large, or needs more digits than `scale`.
    """
    if type(value) is Decimal and value.same_quantum(_UNITS[scale]) and value.adjusted() < MAX_INTEGER_DIGITS:
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


def text_pattern(scale: int, *, positive: bool = False) -> str:
    r"""Return the pattern of an amount as text; [0-9] because \d also matches the digits of other scripts.

    Args:
        scale: Digits after the point.
        positive: Leave out zero and everything below it.
    """
    sign = r"(?!0(\.0+)?$)" if positive else "-?"
    return rf"^{sign}(0|[1-9][0-9]{{0,{MAX_INTEGER_DIGITS - 1}}})(\.[0-9]{{1,{scale}}})?$"


def round_money(value: Decimal, *, scale: int = 2) -> Decimal:
    """Round to `scale` digits, half to even: the one place where digits may be lost.

    Half to even does not drift; half up adds half a cent in one direction each time.
    """
    rounded = value.quantize(_UNITS[scale], rounding=ROUND_HALF_EVEN)
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
        scale: Digits after the point.
        positive: Accept amounts above zero only; the pattern in OpenAPI says so too.
    """

    scale: int
    positive: bool = False

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
