"""Readers, a writer and a clock in every order: one load at a time, nothing too old, nothing brought back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.stale_while_revalidate import StaleWhileRevalidate


class Desk:
    """A price that takes a moment to read, and an old one in the cache."""

    def __init__(self, cache: type[StaleWhileRevalidate[str, int]]) -> None:
        self.cache = cache(load=self.read, fresh_s=5, stale_s=30, clock=lambda: time.monotonic())
        self.price = self.committed = 1
        self.reading = self.most_at_once = 0

    async def read(self, key: str) -> int:
        self.reading += 1
        self.most_at_once = max(self.most_at_once, self.reading)
        try:
            price = self.price
            await asyncio.sleep(0)  # the answer travels
            return price
        finally:
            self.reading -= 1


async def make(cache: Any) -> Desk:
    desk = Desk(cache)
    await desk.cache.__aenter__()
    return desk


async def ask(desk: Desk) -> tuple[int, int]:
    """Return the least that the caller may be told, and what it was told."""
    known = desk.committed
    return known, await desk.cache.get("AAPL")


async def change(desk: Desk) -> None:
    desk.price = 2
    await asyncio.sleep(0)  # the commit travels
    desk.cache.invalidate("AAPL")
    desk.committed = 2


def no_old_price(desk: Desk, responses: dict[str, Any]) -> None:
    for response in responses.values():
        if isinstance(response, tuple):
            known, told = response
            assert told >= known, "who asked after the change was told the old price"
    entry = desk.cache._entries.get("AAPL")
    assert entry is None or entry.value == desk.price, "the old price stayed in the cache"
    assert len(desk.cache._loads) <= 1


def one_load_at_a_time(desk: Desk, responses: dict[str, Any]) -> None:
    no_old_price(desk, responses)
    assert desk.most_at_once <= 1, "two loads of one key at once"


async def test_no_order_brings_the_old_price_back() -> None:
    report = await explore(
        lambda: make(StaleWhileRevalidate),
        {"A": ask, "B": ask, "W": change},
        invariant=no_old_price,
        max_seconds=60,
    )
    assert report.verdict == "exhausted", report.text()


async def test_a_caller_may_be_cancelled_at_any_step() -> None:
    report = await explore(
        lambda: make(StaleWhileRevalidate),
        {"A": ask, "B": ask},
        invariant=one_load_at_a_time,
        cancel=["A"],
        max_seconds=60,
    )
    assert report.verdict == "exhausted", report.text()


async def test_however_the_clock_moves_there_is_one_load_at_a_time() -> None:
    report = await explore(
        lambda: make(StaleWhileRevalidate),
        {"A": ask, "B": ask},
        invariant=one_load_at_a_time,
        clock_jumps=[6.0, 40.0],
        max_seconds=60,
    )
    assert report.verdict == "exhausted", report.text()


class StoresLate(StaleWhileRevalidate[str, int]):
    def invalidate(self, key: str) -> None:
        self._entries.pop(key, None)


class LooksTwice(StaleWhileRevalidate[str, int]):
    async def get(self, key: str) -> int:
        if key not in self._entries and key not in self._loads:
            await asyncio.sleep(0)
            self._start(key)
        return await super().get(key)


@pytest.mark.parametrize(
    ("twin", "requests", "rule"),
    [
        (StoresLate, {"A": ask, "B": ask, "W": change}, no_old_price),
        (LooksTwice, {"A": ask, "B": ask}, one_load_at_a_time),
    ],
)
async def test_a_wrong_twin_is_found(twin: Any, requests: Any, rule: Any) -> None:
    report = await explore(lambda: make(twin), requests, invariant=rule)
    assert report.verdict == "counterexample", report.text()
    assert report.counterexample is not None
    assert report.counterexample.failure.kind == "invariant", report.text()
