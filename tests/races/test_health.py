"""Probes, a prober who gives up and a shutdown in every order: one round of checks, and no late "ok"."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.health import Health, Report


class Service:
    """A database that is asked, and how many ask it at once."""

    def __init__(self, health: type[Health]) -> None:
        self.health = health(timeout_s=None, max_age_s=60)  # type: ignore[arg-type]
        self.health.add("database", self.ping)
        self.asking = self.most_at_once = 0
        self.late_ok = False

    async def ping(self) -> None:
        self.asking += 1
        self.most_at_once = max(self.most_at_once, self.asking)
        try:
            await asyncio.sleep(0)
        finally:
            self.asking -= 1


async def probe(service: Service) -> Report:
    report = await service.health.ready()
    service.late_ok |= service.health.closed and report.status == "ok"
    return report


async def close(service: Service) -> None:
    await asyncio.sleep(0)
    service.health.close()


def one_round_serves_all(service: Service, responses: dict[str, Any]) -> None:
    answered = [it for it in responses.values() if isinstance(it, Report)]
    cancelled = sum(isinstance(it, asyncio.CancelledError) for it in responses.values())
    assert not service.late_ok, "ok after the service had closed"
    assert service.most_at_once <= 1, "two probes ask at once"
    assert service.asking == 0, "a check goes on"
    assert service.health.rounds <= 1 + cancelled, "each probe asks anew"
    assert len(answered) >= len(responses) - cancelled - ("S" in responses)
    assert not service.health.failures


PROBES: dict[str, Any] = {"A": probe, "B": probe}


@pytest.mark.parametrize(
    ("requests", "cancel"),
    [
        (PROBES | {"C": probe}, []),
        (PROBES, ["A"]),
        (PROBES | {"S": close}, []),
        ({"A": probe, "S": close}, ["A"]),
    ],
)
async def test_whatever_the_order(requests: dict[str, Any], cancel: list[str]) -> None:
    report = await explore(
        lambda: Service(Health), requests, invariant=one_round_serves_all, cancel=cancel, max_seconds=60
    )
    assert report.verdict == "exhausted", report.text()


class NoLock(Health):
    async def ready(self) -> Report:
        if self._clock() - self._asked_s >= self._max_age_s:
            self._report, self._asked_s = await self._ask(), self._clock()
        return self._report


class LooksOnceAtTheStart(Health):
    async def ready(self) -> Report:
        if self.closed:
            return Report(status="unavailable")
        async with self._lock:
            if self._clock() - self._asked_s >= self._max_age_s:
                self._report, self._asked_s = await self._ask(), self._clock()
        return self._report


@pytest.mark.parametrize(
    ("twin", "requests"), [(NoLock, PROBES), (LooksOnceAtTheStart, {"A": probe, "S": close})]
)
async def test_a_wrong_twin_is_found(twin: Any, requests: dict[str, Any]) -> None:
    report = await explore(lambda: Service(twin), requests, invariant=one_round_serves_all, max_seconds=60)
    assert report.verdict == "counterexample", report.text()
