"""Say a measured ratio in words that are the same in every run."""

from __future__ import annotations


def more_than(bound: float, ratio: float) -> str:
    """Return "more than 5 times" for a bound of 5, and fail where the ratio is not above it.

    Timings differ from machine to machine and from run to run. A lesson names a lower bound instead, with a
    margin that holds on a busy laptop, and its picture shows what was measured.

    Args:
        bound: What every machine reaches.
        ratio: What was measured in this run.

    Raises:
        AssertionError: The ratio is at most the bound.
    """
    if not ratio > bound:
        raise AssertionError(
            f"Expected more than {bound:g} times, measured {ratio:.1f}. "
            "If the machine slept or was very busy meanwhile, run the measuring cells again."
        )
    return f"more than {bound:g} times"
