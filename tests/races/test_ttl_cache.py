"""Two readers and a writer in every order: what stays in the cache is what stays in the row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.ttl_cache import TTLCache


class Desk:
    """A row that takes a moment to read, and a cache in front of it."""

    def __init__(self, cache: type[TTLCache[str, int]]) -> None:
        self.cache = cache(ttl_s=60, max_entries=10, clock=lambda: 0.0)
        self.price = self.committed = 1

    async def read(self) -> int:
        price = self.price
        await asyncio.sleep(0)  # the answer travels
        return price


async def ask(desk: Desk) -> tuple[int, int]:
    """Return the least that the caller may be told, and what it was told."""
    known = desk.committed
    return known, await desk.cache.get_or_load("AAPL", desk.read)


async def invalidate(desk: Desk) -> None:
    desk.price = 2
    await asyncio.sleep(0)  # the commit travels
    desk.cache.invalidate("AAPL")
    desk.committed = 2


async def put(desk: Desk) -> None:
    desk.price = 2
    await asyncio.sleep(0)
    desk.cache.put("AAPL", 2)
    desk.committed = 2


def the_cache_tells_the_row(desk: Desk, responses: dict[str, Any]) -> None:
    for response in responses.values():
        if isinstance(response, tuple):
            known, told = response
            assert told >= known, "who asked after the change was told the old price"
    assert desk.cache._entries.get("AAPL", (0.0, 2))[1] == 2, "the old price stayed in the cache"
    assert desk.cache._loads == {}, "the record of a load was left"


@pytest.mark.parametrize("change", [invalidate, put])
async def test_no_order_keeps_the_old_price(change: Any) -> None:
    report = await explore(
        lambda: Desk(TTLCache),
        {"A": ask, "B": ask, "W": change},
        invariant=the_cache_tells_the_row,
        max_seconds=60,
    )
    assert report.verdict == "exhausted", report.text()


async def test_a_reader_may_be_cancelled_at_any_step() -> None:
    report = await explore(
        lambda: Desk(TTLCache),
        {"A": ask, "B": ask, "W": invalidate},
        invariant=the_cache_tells_the_row,
        cancel=["A"],
        max_seconds=60,
    )
    assert report.verdict == "exhausted", report.text()


class StoresLate(TTLCache[str, int]):
    async def get_or_load(self, key: str, load: Callable[[], Awaitable[int]]) -> int:
        found = self.get(key)
        if found is None:
            found = await load()
            self._store(key, found, 0.0)
        return found


class ForgivesOnEnd(TTLCache[str, int]):
    async def get_or_load(self, key: str, load: Callable[[], Awaitable[int]]) -> int:
        try:
            return await super().get_or_load(key, load)
        finally:
            if key in self._loads:
                self._loads[key].outdated = 0


@pytest.mark.parametrize("twin", [StoresLate, ForgivesOnEnd])
async def test_a_wrong_twin_is_found(twin: Any) -> None:
    report = await explore(
        lambda: Desk(twin), {"A": ask, "B": ask, "W": invalidate}, invariant=the_cache_tells_the_row
    )
    assert report.verdict == "counterexample", report.text()
    assert report.counterexample is not None
    assert "old price" in str(report.counterexample.failure)
