"""The services of a process are found by their class, and one that is not open is named."""

from __future__ import annotations

import pytest

from reference_app.infra.process.resources import Services


class Clock:
    pass


def test_a_service_is_found_by_its_class_and_can_be_replaced() -> None:
    services = Services()
    first, second = Clock(), Clock()
    services.add(first)
    assert services[Clock] is first
    services.add(second)
    assert services[Clock] is second


def test_one_that_is_not_open_is_named_with_what_to_do() -> None:
    with pytest.raises(LookupError, match=r"no Clock is open: .* in nouns\.py"):
        Services()[Clock]
