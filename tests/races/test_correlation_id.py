"""Requests take turns at their awaits in every order, and each keeps its own id to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.correlation_id import CorrelationId, current_id


async def quote(scope: Any, receive: Any, send: Any) -> None:
    before = current_id().encode()
    await asyncio.sleep(0)  # the exchange is asked
    await send({"type": "http.response.start", "status": 200, "headers": [(b"before", before)]})
    await send({"type": "http.response.body", "body": current_id().encode()})


def request(name: str) -> Callable[[Any], Any]:
    async def ask(app: Any) -> list[bytes]:
        seen: list[bytes] = []

        async def send(message: Any) -> None:
            seen.extend(value for _, value in message.get("headers", ()))
            seen.append(message.get("body", b""))
            await asyncio.sleep(0)  # the socket is full

        try:
            await app({"type": "http", "headers": [(b"x-request-id", name.encode())]}, None, send)
        finally:
            seen.append(current_id().encode())
        return seen

    return ask


def everything_has_the_id_of_its_request(app: Any, responses: dict[str, Any]) -> None:
    for name, response in responses.items():
        if not isinstance(response, asyncio.CancelledError):
            assert response == [name.encode(), name.encode(), b"", name.encode(), b""]


@pytest.mark.parametrize(
    ("names", "cancel", "bound", "verdict"),
    [("AB", [], None, "exhausted"), ("AB", ["B"], None, "exhausted"), ("ABC", [], 2, "bounded")],
)
async def test_ids_stay_apart_in_every_order(
    names: str, cancel: list[str], bound: int | None, verdict: str
) -> None:
    report = await explore(
        lambda: CorrelationId(quote),
        {name: request(name) for name in names},
        invariant=everything_has_the_id_of_its_request,
        cancel=cancel,
        preemption_bound=bound,
        max_seconds=60,
    )
    assert report.verdict == verdict, report.text()


class InAnAttribute(CorrelationId):
    """The middleware is one object for all requests; what it sends back is the id of the last one."""

    def _choose(self, scope: Any) -> str:
        self.last = super()._choose(scope)
        return self.last

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_last(message: Any) -> None:
            if "headers" in message:
                message["headers"][-1] = (b"x-request-id", self.last.encode())
            await send(message)

        await super().__call__(scope, receive, send_last)


async def test_a_wrong_twin_is_found() -> None:
    report = await explore(
        lambda: InAnAttribute(quote),
        {name: request(name) for name in "AB"},
        invariant=everything_has_the_id_of_its_request,
    )
    assert report.counterexample is not None, report.text()
    assert report.counterexample.failure.kind == "invariant", report.text()
