"""A stream, its client's leaving, a request and the end of the service in every order: nothing is cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.graceful_drain import Drain


class Service:
    """Two quotes and then silence, and what was begun and ended."""

    def __init__(self, drain: type[Drain]) -> None:
        self.drain = drain(notice_s=0, finish_s=None)  # type: ignore[arg-type]
        self.sending = self.working = self.open = 0
        self.left: tuple[int, int] | None = None

    async def quotes(self) -> AsyncGenerator[str]:
        self.open += 1
        try:
            yield "AAPL"
            await asyncio.sleep(0)
            yield "MSFT"
            await asyncio.Event().wait()
        finally:
            try:
                await asyncio.sleep(0)  # gives a connection back
            finally:
                self.open -= 1


async def stream(service: Service) -> None:
    with service.drain.work():
        async with contextlib.aclosing(service.drain.until(service.quotes())) as quotes:
            async for _ in quotes:
                service.sending += 1
                await asyncio.sleep(0)
                service.sending -= 1


async def request(service: Service) -> None:
    with service.drain.work():
        service.working += 1
        await asyncio.sleep(0)
        service.working -= 1


async def end(service: Service) -> None:
    async with service.drain:
        await asyncio.sleep(0)
    service.left = service.working, service.open


def nothing_is_cut(service: Service, responses: dict[str, Any]) -> None:
    cancelled = {name for name, it in responses.items() if isinstance(it, asyncio.CancelledError)}
    assert cancelled <= {"S"}
    assert service.left == (0, 0), "the service has ended before its work"
    assert cancelled or service.sending == 0, "cut off in the middle of a message"
    assert (service.drain.running, service.open, len(service.drain._waits)) == (0, 0, 0)


STREAM: dict[str, Any] = {"S": stream, "E": end}


@pytest.mark.parametrize(
    ("requests", "cancel"),
    [
        (STREAM, []),
        (STREAM, ["S"]),
        ({"R": request, "Q": request, "E": end}, []),
        pytest.param(STREAM | {"R": request}, [], marks=pytest.mark.prove),  # ten seconds
    ],
)
async def test_whatever_the_order(requests: dict[str, Any], cancel: list[str]) -> None:
    report = await explore(
        lambda: Service(Drain), requests, invariant=nothing_is_cut, cancel=cancel, max_seconds=60
    )
    assert report.verdict == "exhausted", report.text()


class AroundTheWholeStream(Drain):
    async def until(self, items: Any) -> Any:
        self._waits[wait := asyncio.timeout(None)] = asyncio.current_task()
        with contextlib.suppress(TimeoutError):
            async with contextlib.aclosing(items), wait:
                async for item in items:
                    yield item
        self._waits.pop(wait, None)


class WaitsOnce(Drain):
    """It waits for the first work that ends, and not for the last."""

    async def __aexit__(self, *exc_info: object) -> None:
        self.begin(0)
        if self.running:
            self._idle.clear()
            await self._idle.wait()


@pytest.mark.parametrize(
    ("twin", "requests"), [(AroundTheWholeStream, STREAM), (WaitsOnce, STREAM | {"R": request})]
)
async def test_a_wrong_twin_is_found(twin: Any, requests: dict[str, Any]) -> None:
    report = await explore(lambda: Service(twin), requests, invariant=nothing_is_cut, max_seconds=60)
    assert report.verdict == "counterexample", report.text()
