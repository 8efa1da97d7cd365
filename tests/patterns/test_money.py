"""Money keeps every digit, refuses what it cannot keep, and never repeats the value it refuses."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from reference_app.patterns.money import (
    Amount,
    InvalidMoney,
    Money,
    PositiveMoney,
    Price,
    round_money,
    split_money,
    text_pattern,
    to_money,
)

SCALES = range(15)


class Invoice(BaseModel):
    yen: Annotated[Decimal, Amount(scale=0, positive=True)]
    fund: Annotated[Decimal, Amount(scale=14)] = Decimal(0)


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


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("sign", ["", "-"])
def test_every_scale_takes_its_largest_and_its_smallest_amount_as_text_and_as_decimal(
    scale: int, sign: str
) -> None:
    point = "." if scale else ""
    largest, smallest = "9" * 14 + point + "9" * scale, (f"0.{'0' * (scale - 1)}1" if scale else "1")
    for text in (largest, smallest):
        assert format(to_money(sign + text, scale=scale), "f") == sign + text
        assert to_money(Decimal(sign + text), scale=scale) == Decimal(sign + text)
        assert re.fullmatch(text_pattern(scale), sign + text)
    for text in ("1" + "0" * 14, largest + ("9" if scale else ".9"), "9" * 15):
        for value in (sign + text, Decimal(sign + text)):
            with pytest.raises(InvalidMoney):
                to_money(value, scale=scale)


def test_a_zero_has_no_sign() -> None:
    assert [str(to_money(it)) for it in ("-0", "-0.00", Decimal("-0.00"), Decimal("-0"))] == ["0.00"] * 4
    assert str(round_money(Decimal("-0.00"))) == "0.00"


@pytest.mark.parametrize("scale", [-1, 15])
def test_a_scale_that_there_is_not_is_refused_where_it_is_written(scale: int) -> None:
    for use in (
        lambda: Amount(scale=scale),
        lambda: to_money("1", scale=scale),
        lambda: round_money(Decimal(1), scale=scale),
        lambda: split_money(Decimal(1), parts=1, scale=scale),
    ):
        with pytest.raises(ValueError, match="scale must be 0 to 14"):
            use()


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity", "1e28", "-1e500"])
def test_what_cannot_be_rounded_is_no_money(value: str) -> None:
    with pytest.raises(InvalidMoney, match="finite"):
        round_money(Decimal(value))


def test_yen_have_no_digits_after_the_point() -> None:
    assert (
        Invoice.model_validate_json('{"yen": "1500"}').model_dump_json()
        == '{"yen":"1500","fund":"0.00000000000000"}'
    )
    assert split_money(Decimal(100), parts=3, scale=0) == [Decimal(34), Decimal(33), Decimal(33)]
    assert str(round_money(Decimal("2.5"), scale=0)) == "2"
    for text in ('"0"', '"1500.0"', '"1500."', '"-1"'):
        with pytest.raises(ValidationError):
            Invoice.model_validate_json(f'{{"yen": {text}}}')


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
    assert shares == sorted(shares, key=abs, reverse=True)


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


@pytest.mark.parametrize("scale", [0, 1, 2, 4, 14])
@pytest.mark.parametrize("positive", [False, True])
def test_the_published_pattern_takes_what_the_validator_takes_and_needs_no_look_ahead(
    scale: int, positive: bool
) -> None:
    pattern = text_pattern(scale, positive=positive)
    assert not re.search(r"\(\?[=!<]", pattern), "Go, Rust and RE2 have no look-ahead"
    amount = Amount(scale=scale, positive=positive)
    digits = [
        "",
        "0",
        "00",
        "1",
        "01",
        "10",
        "9",
        "99",
        "100",
        "001",
        "0001",
        "010",
        "011",
        "0111",
        "0" * 14,
        "0" * 13 + "1",
        "1" * 15,
    ]
    for text in [sign + whole + point + rest for sign in ("", "-") for whole in digits
                 for point, rest in [("", ""), *((".", it) for it in digits)]]:  # fmt: skip
        try:
            amount._validate(text)
            is_valid = True
        except InvalidMoney:
            is_valid = False
        assert bool(re.search(pattern, text)) is is_valid, text


def test_in_a_longer_pattern_it_has_no_sign_no_ends_and_no_groups() -> None:
    line = re.compile(f"price (?P<price>{text_pattern(4, anchored=False)}) each")
    match = line.search("the price 131.1200 each")
    assert match is not None
    assert match.groups() == ("131.1200",)
    assert line.search("the price -1.00 each") is None
    assert re.fullmatch(text_pattern(0, anchored=False), "1500")


def test_a_text_may_have_more_digits_than_an_amount_but_not_fewer_than_none() -> None:
    assert re.fullmatch(text_pattern(15), "0." + "1" * 15)
    with pytest.raises(ValueError, match="0 or more"):
        text_pattern(-1)


def test_rounding_does_not_depend_on_who_has_changed_the_context() -> None:
    with localcontext(Context(prec=28, rounding=ROUND_HALF_EVEN)) as context:
        context.rounding = "ROUND_UP"
        assert str(round_money(Decimal("0.121"))) == "0.12"


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
