"""A bound says the same words for every ratio above it, and fails below it."""

from __future__ import annotations

import math

import pytest
from deskbook.load import more_than


def test_every_ratio_above_the_bound_has_the_same_words() -> None:
    assert {more_than(5, ratio) for ratio in (5.1, 35.0, 80.0)} == {"more than 5 times"}


@pytest.mark.parametrize("ratio", [5.0, 1.2, 0.0, math.nan])
def test_a_ratio_that_is_not_above_the_bound_fails_with_what_was_measured(ratio: float) -> None:
    with pytest.raises(AssertionError, match=f"measured {ratio:.1f}"):
        more_than(5, ratio)
