"""HEAD answers wherever GET does."""

from __future__ import annotations

import pytest
from deskbook.desk import RunningApp
from starlette.types import Message, Receive, Scope, Send

from reference_app.infra.http.methods import HttpMethodsMiddleware


async def test_no_byte_of_a_body_is_sent_for_head() -> None:
    """Straight at the middleware: httpx would drop the body of a HEAD reply by itself."""

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["method"] == "GET"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        raise AssertionError("nobody wants the rest")

    async def no_body() -> Message:
        raise AssertionError("nothing to receive")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "HEAD", "path": "/"}
    await HttpMethodsMiddleware(streaming)(scope, no_body, send)
    assert sent[0]["headers"] == [(b"content-length", b"6")]
    assert sent[1:] == [{"type": "http.response.body", "body": b"", "more_body": False}]
    assert scope["method"] == "HEAD"  # what the access log of the server reads


@pytest.mark.parametrize(
    "path",
    [
        "/v1/instruments?limit=2",
        "/v1/instruments/AAPL",
        "/v1/instruments/AAPL/candles?limit=3",
        "/v1/instruments/AAPL/quote",
        "/v1/instruments/NONE",
        "/health/live",
        "/health/ready",
        "/docs",
        "/docs/assets/swagger-ui.css",
        "/openapi.json",
        "/nowhere",
    ],
)
async def test_head_has_the_status_and_headers_of_get_and_no_body(desk: RunningApp, path: str) -> None:
    get, head = await desk.client.get(path), await desk.client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    for changing in ("x-request-id", "ratelimit"):
        get.headers.pop(changing, None), head.headers.pop(changing, None)
    assert head.headers == get.headers
    assert int(get.headers["content-length"]) == len(get.content) > 0
