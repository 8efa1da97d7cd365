"""Money keeps every digit, refuses what it cannot keep, and never repeats the value it refuses."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import BaseModel, ValidationError

from reference_app.patterns.money import (
    InvalidMoney,
    Money,
    PositiveMoney,
    Price,
    round_money,
    split_money,
    text_pattern,
    to_money,
)


class Payment(BaseModel):
    amount: PositiveMoney
    price: Price = Decimal("1.0000")
    balance: Money = Decimal("0.00")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0.00"),
        ("-0.00", "0.00"),
        ("19.9", "19.90"),
        ("-19.90", "-19.90"),
        ("99999999999999.99", "99999999999999.99"),
    ],
)
def test_a_plain_decimal_is_read_exactly(text: str, amount: str) -> None:
    assert str(to_money(text)) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1\n",
        "1e3",
        "1_000",
        "1,5",
        "+1",
        ".5",
        "5.",
        "007",
        "NaN",
        "Infinity",
        "0x10",
        "1.234",
        "\u0661",  # Decimal() reads this Arabic digit as 1
        "1\u0661",
        "1.\u0661",
        "1" * 15,
        "9" * 10_000,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidMoney, match="expected a decimal"):
        to_money(text)


@pytest.mark.parametrize("value", ["hunter2", "4242.4242", Decimal("4242.4242"), Decimal("4242e30")])
def test_the_message_does_not_repeat_the_value(value: object) -> None:
    with pytest.raises(InvalidMoney) as refusal:
        to_money(value)
    assert "4242" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("value", [0.1, 1, True, None, b"1"])
def test_a_number_is_refused_because_its_digits_may_be_gone(value: object) -> None:
    with pytest.raises(InvalidMoney, match="as a string"):
        to_money(value)


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity", "1e14", "0.001"])
def test_a_decimal_is_held_to_the_same_limits(value: str) -> None:
    with pytest.raises(InvalidMoney):
        to_money(Decimal(value))


def test_zeros_of_a_database_column_are_no_digits() -> None:
    assert str(to_money(Decimal("5.00000"))) == "5.00"


def test_rounding_goes_half_to_even_so_that_many_roundings_do_not_drift() -> None:
    halves = [Decimal(cents) / 100 + Decimal("0.005") for cents in range(100)]
    assert sum(map(round_money, halves)) == sum(halves)
    assert str(round_money(Decimal("-0.001"))) == "0.00"


@pytest.mark.parametrize("whole", ["100.00", "0.01", "-100.00", "0.00", "99999999999999.99"])
@pytest.mark.parametrize("parts", [1, 3, 7])
def test_shares_sum_to_the_whole_and_differ_by_one_cent_at_most(whole: str, parts: int) -> None:
    shares = split_money(Decimal(whole), parts=parts)
    assert len(shares) == parts
    assert sum(shares) == Decimal(whole)
    assert max(shares) - min(shares) <= Decimal("0.01")


def test_no_parts_is_an_error() -> None:
    with pytest.raises(InvalidMoney, match="1 part"):
        split_money(Decimal("1.00"), parts=0)


def test_json_carries_strings_both_ways() -> None:
    payment = Payment.model_validate_json('{"amount": "0.10", "price": "131.1234", "balance": "-5"}')
    assert payment.model_dump() == {
        "amount": Decimal("0.10"),
        "price": Decimal("131.1234"),
        "balance": Decimal("-5.00"),
    }
    assert payment.model_dump_json() == '{"amount":"0.10","price":"131.1234","balance":"-5.00"}'


@pytest.mark.parametrize("amount", ['"0"', '"0.00"', '"-1.00"', "10", "0.1", "null"])
def test_a_positive_amount_is_above_zero_and_a_string(amount: str) -> None:
    with pytest.raises(ValidationError):
        Payment.model_validate_json(f'{{"amount": {amount}}}')


def test_the_schema_says_what_the_validator_does() -> None:
    properties = Payment.model_json_schema()["properties"]
    assert properties["amount"]["pattern"] == text_pattern(2, positive=True)
    assert properties["price"] == {
        "default": "1.0000",
        "pattern": text_pattern(4),
        "title": "Price",
        "type": "string",
    }


def test_an_amount_that_cannot_be_shown_exactly_is_an_error_and_not_rounded() -> None:
    with pytest.raises(Exception, match="digits after the point"):
        Payment.model_construct(amount=Decimal("1.005")).model_dump_json()
