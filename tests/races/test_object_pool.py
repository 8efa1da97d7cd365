"""Borrowers who come, fail, are cancelled and meet the end of the service, in every order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.object_pool import NoneFree, ObjectPool, PoolClosed


class Service:
    """A pool of one, and how many of its objects live and are used at once."""

    def __init__(self, pool: type[ObjectPool[Any]]) -> None:
        self.pool = pool(self.create, max_size=1, timeout_s=None, close=self.close)  # type: ignore[arg-type]
        self.alive = self.most_alive = self.using = self.most_using = 0

    async def create(self) -> object:
        await asyncio.sleep(0)
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        return object()

    async def close(self, thing: object) -> None:
        self.alive -= 1


async def borrow(service: Service) -> None:
    async with service.pool.acquire():
        service.using += 1
        service.most_using = max(service.most_using, service.using)
        try:
            await asyncio.sleep(0)
        finally:
            service.using -= 1


async def end(service: Service) -> None:
    async with service.pool:
        await asyncio.sleep(0)


def nothing_is_lost(service: Service, responses: dict[str, Any]) -> None:
    assert (service.most_alive <= 1, service.most_using <= 1) == (True, True), "more than the pool may have"
    assert (service.using, service.pool.in_use) == (0, 0)
    assert not service.pool._places.locked(), "a place was lost"
    assert service.alive == len(service.pool._idle), "an object was lost"
    if "E" in responses:
        assert service.alive == 0, "an object outlives the service"
    for response in responses.values():
        assert response is None or isinstance(response, asyncio.CancelledError | PoolClosed | NoneFree)


BORROWERS: dict[str, Any] = {"A": borrow, "B": borrow}


@pytest.mark.parametrize(
    ("requests", "cancel"),
    [(BORROWERS | {"C": borrow}, []), (BORROWERS, ["A"]), (BORROWERS | {"E": end}, [])],
)
async def test_whatever_the_order(requests: dict[str, Any], cancel: list[str]) -> None:
    report = await explore(
        lambda: Service(ObjectPool), requests, invariant=nothing_is_lost, cancel=cancel, max_seconds=60
    )
    assert report.verdict == "exhausted", report.text()


class ReleasesFirst(ObjectPool[Any]):
    """The place is free before the object is back: who waits makes one more."""

    async def _discard(self, thing: Any) -> None:
        self._places.release()
        await asyncio.sleep(0)
        await super()._discard(thing)
        await self._places.acquire()


class LooksThenMakes(ObjectPool[Any]):
    async def _take_place(self) -> None:
        while self.in_use >= self.max_size:  # noqa: ASYNC110 - the bug is what is tested
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._places = asyncio.Semaphore(9)


class ClosesTheIdleOnly(ObjectPool[Any]):
    async def __aexit__(self, *exc_info: object) -> None:
        while self._idle:
            await self._discard(self._idle.pop()[1])


@pytest.mark.parametrize(
    ("twin", "requests", "cancel"),
    [
        (ReleasesFirst, BORROWERS, ["A"]),
        (LooksThenMakes, BORROWERS, []),
        (ClosesTheIdleOnly, {"A": borrow, "E": end}, []),
    ],
)
async def test_a_wrong_twin_is_found(twin: Any, requests: dict[str, Any], cancel: list[str]) -> None:
    report = await explore(
        lambda: Service(twin), requests, invariant=nothing_is_lost, cancel=cancel, max_seconds=60
    )
    assert report.verdict == "counterexample", report.text()
