"""Two calls that share a limit, an error, and a caller who leaves, in every order: no place is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.bounded_fan_out import FanOut


class Exchange:
    """Something with one connection, and how many use it."""

    def __init__(self, fan_out: type[FanOut]) -> None:
        self.fan_out = fan_out(limit=1, timeout_s=None)
        self.asking = self.most_asking = 0

    async def ask(self, symbol: str) -> str:
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        try:
            await asyncio.sleep(0)
            if symbol == "ACME":
                raise LookupError(symbol)
            return symbol
        finally:
            self.asking -= 1


def portfolio(*symbols: str) -> Callable[[Exchange], Any]:
    async def value(exchange: Exchange) -> Any:
        try:
            return await exchange.fan_out.map(exchange.ask, symbols)
        except ExceptionGroup as group:
            return [str(it) for it in group.exceptions]

    return value


def nothing_is_lost(exchange: Exchange, responses: dict[str, Any]) -> None:
    assert exchange.most_asking <= 1, "more at once than allowed"
    assert (exchange.asking, exchange.fan_out.running) == (0, 0), "work goes on for nobody"
    assert not exchange.fan_out._places.locked(), "a place was lost"
    assert responses["A"] == ["AAPL", "IBM"]
    assert responses["B"] == ["ACME"] or isinstance(responses["B"], asyncio.CancelledError)


REQUESTS = {"A": portfolio("AAPL", "IBM"), "B": portfolio("ACME", "MSFT")}


@pytest.mark.parametrize("cancel", [[], ["B"]])
async def test_whatever_the_order(cancel: list[str]) -> None:
    report = await explore(
        lambda: Exchange(FanOut), REQUESTS, invariant=nothing_is_lost, cancel=cancel, max_seconds=60
    )
    assert report.verdict == "exhausted", report.text()


class LooksAndWaits(FanOut):
    """It waits until a place is free, and takes it a moment later."""

    async def _run(self, work: Any, item: Any) -> Any:
        while self.running >= self._limit:  # noqa: ASYNC110 - the bug is what is tested
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.running += 1
        try:
            return await work(item)
        finally:
            self.running -= 1


class LosesThePlace(FanOut):
    """Given back after the work, but not when it was cancelled."""

    async def _run(self, work: Any, item: Any) -> Any:
        await self._places.acquire()
        try:
            result = await work(item)
        except Exception:
            self._places.release()
            raise
        self._places.release()
        return result


@pytest.mark.parametrize(("twin", "cancel"), [(LooksAndWaits, []), (LosesThePlace, ["B"])])
async def test_a_wrong_twin_is_found(twin: Any, cancel: list[str]) -> None:
    report = await explore(
        lambda: Exchange(twin), REQUESTS, invariant=nothing_is_lost, cancel=cancel, max_seconds=60
    )
    assert report.verdict == "counterexample", report.text()
