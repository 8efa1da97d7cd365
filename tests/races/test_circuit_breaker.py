"""Calls, cancellations and a clock in every order: one trial at a time, and it closes for a good reason."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.circuit_breaker import CircuitBreaker, CircuitOpen


class Exchange:
    """A dependency behind a breaker that opens with the first failure and tries again after 30 s."""

    def __init__(self, breaker: type[CircuitBreaker]) -> None:
        self.breaker = breaker(timeout_s=None, open_s=30, min_calls=1, clock=lambda: time.monotonic())
        self.trials = self.most_trials = 0
        self.succeeded_after: set[int] = set()
        self.closed_without_reason = False
        change = self.breaker._change

        def watched(state: Any) -> None:
            if state == "closed":
                self.closed_without_reason |= self.breaker.openings not in self.succeeded_after
            change(state)

        self.breaker._change = watched  # type: ignore[method-assign]

    async def work(self, error: Exception | None) -> str:
        openings, is_trial = self.breaker.openings, self.breaker.state == "half_open"
        self.trials += is_trial
        self.most_trials = max(self.most_trials, self.trials)
        try:
            await asyncio.sleep(0)  # the answer travels
        finally:
            self.trials -= is_trial
        if error is not None:
            raise error
        self.succeeded_after.add(openings)
        return "131.12"


async def succeed(exchange: Exchange) -> str:
    return await exchange.breaker.call(lambda: exchange.work(None))


async def fail(exchange: Exchange) -> str:
    try:
        return await exchange.breaker.call(lambda: exchange.work(ConnectionError("refused")))
    except (ConnectionError, CircuitOpen) as error:
        return type(error).__name__


def no_crowd_and_no_rumours(exchange: Exchange, responses: dict[str, Any]) -> None:
    breaker = exchange.breaker
    assert exchange.most_trials <= 1, "two trials at once"
    assert not exchange.closed_without_reason, "it closed although no call since the opening succeeded"
    if breaker.state == "half_open":
        assert breaker._trials_left == breaker._trials_to_pass == 1, "a trial that ended kept its place"


CALLS = {"A": succeed, "B": fail, "C": fail}


@pytest.mark.parametrize("cancel", [[], ["A"]])
async def test_whatever_the_order(cancel: list[str]) -> None:
    report = await explore(
        lambda: Exchange(CircuitBreaker),
        CALLS,
        invariant=no_crowd_and_no_rumours,
        clock_jumps=[31.0],
        cancel=cancel,
        max_seconds=60,
    )
    assert report.verdict == "exhausted", report.text()


class LetsAllTry(CircuitBreaker):
    def _admit(self) -> int:
        self._trials_left = 1_000
        return super()._admit()

    def _change(self, state: Any) -> None:
        super()._change(state)
        self._trials_left = 1_000


class KeepsTheTrial(CircuitBreaker):
    def _record(self, era: int, failed: bool | None) -> None:
        if failed is not None:
            super()._record(era, failed)


class KnowsNoEras(CircuitBreaker):
    def _record(self, era: int, failed: bool | None) -> None:
        if self.state != "open":
            super()._record(self._era, failed)


@pytest.mark.parametrize(
    ("twin", "why"),
    [
        (LetsAllTry, "two trials at once"),
        (KeepsTheTrial, "kept its place"),
        (KnowsNoEras, "it closed although"),
    ],
)
async def test_a_wrong_twin_is_found(twin: Any, why: str) -> None:
    report = await explore(
        lambda: Exchange(twin),
        CALLS,
        invariant=no_crowd_and_no_rumours,
        clock_jumps=[31.0],
        cancel=["A"],
        max_seconds=60,
    )
    assert report.counterexample is not None, report.text()
    assert why in str(report.counterexample.failure)
