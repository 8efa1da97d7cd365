"""All interleavings of callers, departures and changes: one answer for all, nothing left, nothing old."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.single_flight import SingleFlight


class Exchange:
    """A price that takes a moment to read, and a `SingleFlight` in front of it."""

    def __init__(self, flights: type[SingleFlight[Any]]) -> None:
        self.flights = flights()
        self.price = 1
        self.reads = self.reading = self.most_at_once = 0
        self.committed = 1

    async def read(self) -> int:
        self.reads += 1
        self.reading += 1
        self.most_at_once = max(self.most_at_once, self.reading)
        try:
            price = self.price
            await asyncio.sleep(0)  # the answer travels
            return price
        finally:
            self.reading -= 1


async def ask(exchange: Exchange) -> tuple[int, int]:
    """Return the least that the caller may be told, and what it was told."""
    known = exchange.committed
    return known, await exchange.flights.do("AAPL", exchange.read)


async def change(exchange: Exchange) -> None:
    exchange.price = 2
    await asyncio.sleep(0)  # the commit travels
    exchange.flights.forget("AAPL")
    exchange.committed = 2


def nothing_is_left(exchange: Exchange, responses: dict[str, Any]) -> None:
    assert exchange.reading == 0, "work goes on for nobody"
    assert exchange.flights.in_flight == 0, "a flight was left"
    for name, response in responses.items():
        if name != "W":
            known, told = response
            assert told >= known, "who asked after the change was told the old price"


def once_at_a_time(exchange: Exchange, responses: dict[str, Any]) -> None:
    nothing_is_left(exchange, responses)
    assert exchange.most_at_once == 1, "the same work ran twice at once"


def who_stays_is_answered(leavers: set[str], exchange: Exchange, responses: dict[str, Any]) -> None:
    cancelled = {name for name, response in responses.items() if isinstance(response, BaseException)}
    nothing_is_left(exchange, {name: it for name, it in responses.items() if name not in cancelled})
    assert cancelled <= leavers, "a caller who stayed was not answered"


async def test_three_callers_share_in_every_order() -> None:
    report = await explore(
        lambda: Exchange(SingleFlight),
        {"RA": ask, "RB": ask, "RC": ask},
        invariant=once_at_a_time,
        max_seconds=60,
    )
    assert report.verdict == "exhausted", report.text()


@pytest.mark.parametrize(
    ("leavers", "bound", "verdict"),
    [
        (["L"], None, "exhausted"),
        (["L", "M"], 1, "bounded"),
        pytest.param(["L", "M"], None, "exhausted", marks=pytest.mark.prove),  # half a minute
    ],
)
async def test_callers_may_be_cancelled_at_any_step(leavers: list[str], bound: Any, verdict: str) -> None:
    report = await explore(
        lambda: Exchange(SingleFlight),
        {"L": ask, "M": ask},
        invariant=functools.partial(who_stays_is_answered, set(leavers)),
        cancel=leavers,
        preemption_bound=bound,
        max_seconds=200,
    )
    assert report.verdict == verdict, report.text()


async def test_no_caller_is_told_less_than_was_known_when_it_asked() -> None:
    report = await explore(
        lambda: Exchange(SingleFlight),
        {"RA": ask, "RB": ask, "W": change},
        invariant=nothing_is_left,
        max_seconds=60,
    )
    assert report.verdict == "exhausted", report.text()


class AwaitsTheTask(SingleFlight[Any]):
    async def do(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> Any:
        return await (self._flights.get(key) or self._start(key, work)).task


class ForgetsNothing(SingleFlight[Any]):
    def forget(self, key: Hashable) -> None:
        pass


class LooksTwice(SingleFlight[Any]):
    """An await between the look and the start: both callers find nothing."""

    async def do(self, key: Hashable, work: Callable[[], Awaitable[Any]]) -> Any:
        if key not in self._flights:
            await asyncio.sleep(0)
            self._start(key, work)
        return await super().do(key, work)


@pytest.mark.parametrize(
    ("twin", "requests", "rule", "cancel"),
    [
        (AwaitsTheTask, {"L": ask, "M": ask}, functools.partial(who_stays_is_answered, {"L"}), ["L"]),
        (ForgetsNothing, {"RA": ask, "RB": ask, "W": change}, nothing_is_left, []),
        (LooksTwice, {"RA": ask, "RB": ask}, once_at_a_time, []),
    ],
)
async def test_a_wrong_twin_is_found(twin: Any, requests: Any, rule: Any, cancel: list[str]) -> None:
    report = await explore(lambda: Exchange(twin), requests, invariant=rule, cancel=cancel)
    assert report.verdict == "counterexample", report.text()
    assert report.counterexample is not None
    assert report.counterexample.failure.kind == "invariant", report.text()
