"""Every error is a problem, and none repeats what the client sent. Requests go straight to the ASGI app."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Annotated, Any, Literal

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from pydantic import BaseModel, Field, SecretStr

from reference_app.patterns.problem_details import MEDIA_TYPE, Problem, documented, install


class OutOfCredit(Problem):
    """The balance does not cover the price."""

    type, title, status = "/problems/out-of-credit", "Out of credit", 409


class Card(BaseModel):
    kind: Literal["card"]
    pin: SecretStr = Field(min_length=8)


class Cheque(BaseModel):
    kind: Literal["cheque"]


class Payment(BaseModel):
    by: Annotated[Card | Cheque, Field(discriminator="kind")]
    parts: dict[str, int] = {}


def make_app() -> FastAPI:
    app = FastAPI()
    install(app)
    router = APIRouter(max_body_size=200)

    @router.get("/problem", responses=documented(OutOfCredit))
    async def problem() -> None:
        raise OutOfCredit("The price is 50.00.", headers={"Retry-After": "5"}, balance="30.00")

    @router.get("/forbidden")
    async def forbidden() -> None:
        raise HTTPException(403, "Not yours.", headers={"X-Reason": "owner"})

    @router.get("/crash")
    async def crash() -> None:
        raise RuntimeError("the password is hunter2")

    @router.post("/pay")
    async def pay(payment: Payment) -> None: ...

    app.include_router(router)
    return app


Reply = tuple[int, dict[str, str], Any]


def request(app: Any, method: str, path: str, body: bytes = b"", length: int | None = None) -> Reply:
    """Send one request; without `length` the body comes without Content-Length, as in a chunked upload."""
    headers = [(b"content-type", b"application/json")]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
    }
    sent: list[Any] = []
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert [message["type"] for message in sent].count("http.response.start") == 1
    head = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], head, json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def test_a_problem_keeps_its_members_and_headers() -> None:
    status, headers, body = request(make_app(), "GET", "/problem")
    assert (status, headers["content-type"], headers["retry-after"]) == (409, MEDIA_TYPE, "5")
    assert body == {
        "type": "/problems/out-of-credit",
        "title": "Out of credit",
        "status": 409,
        "detail": "The price is 50.00.",
        "balance": "30.00",
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", "/nowhere", 404, "Not Found"),
        ("POST", "/problem", 405, "Method Not Allowed"),
        ("GET", "/forbidden", 403, "Forbidden"),
    ],
)
def test_errors_of_the_framework_are_problems_too(method: str, path: str, status: int, title: str) -> None:
    code, headers, body = request(make_app(), method, path)
    assert (code, headers["content-type"]) == (status, MEDIA_TYPE)
    assert (body["type"], body["title"], body["status"]) == ("about:blank", title, status)
    assert headers.get("allow") == ("GET" if status == 405 else None)
    assert headers.get("x-reason") == ("owner" if status == 403 else None)


@pytest.mark.parametrize("length", [5000, None])
def test_a_body_over_the_limit_is_a_problem_with_and_without_its_length_told(length: int | None) -> None:
    status, headers, body = request(make_app(), "POST", "/pay", b" " * 5000, length)
    assert (status, headers["content-type"], body["title"]) == (413, MEDIA_TYPE, "Content Too Large")
    assert int(headers["content-length"]) == len(json.dumps(body, separators=(",", ":")))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"by": {"kind": "card", "pin": "hunter2"}}, "/by/card/pin"),
        ({"by": {"kind": "hunter2"}}, "/by"),
        ({"by": {"kind": "cheque"}, "parts": {"a/b~c": "hunter2"}}, "/parts/a~1b~0c"),
        ("hunter2", ""),
    ],
)
def test_a_rejected_body_is_located_and_never_repeated(body: object, pointer: str) -> None:
    status, headers, reply = request(make_app(), "POST", "/pay", json.dumps(body).encode())
    assert (status, headers["content-type"]) == (422, MEDIA_TYPE)
    assert [(error["in"], error["pointer"]) for error in reply["errors"]] == [("body", pointer)]
    assert "hunter2" not in json.dumps(reply)


def test_broken_json_is_located_at_the_body() -> None:
    reply = request(make_app(), "POST", "/pay", b'{"by": hunter2')[2]
    assert reply["errors"][0]["pointer"] == ""
    assert "hunter2" not in json.dumps(reply)


def test_a_crash_says_nothing_to_the_client_and_everything_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        status, headers, body = request(make_app(), "GET", "/crash")
    assert (status, headers["content-type"]) == (500, MEDIA_TYPE)
    assert body == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
    assert "GET /crash failed" in caplog.text
    assert "RuntimeError" in caplog.text


def test_a_crash_in_middleware_outside_is_a_problem_too() -> None:
    app = make_app()

    class Broken:
        def __init__(self, app: Any) -> None: ...

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            raise RuntimeError("the password is hunter2")

    app.add_middleware(Broken)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [],
        "query_string": b"",
        "root_path": "",
    }
    with pytest.raises(RuntimeError):  # raised again for the log of the server
        asyncio.run(app(scope, lambda: None, send))  # type: ignore[arg-type, return-value]
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["title"] == "Internal Server Error"


def test_an_error_after_the_first_byte_closes_the_connection() -> None:
    app = FastAPI()
    install(app)

    @app.get("/half")
    async def half() -> Any:
        from fastapi.responses import StreamingResponse

        async def lines() -> Any:
            yield b"first"
            raise RuntimeError("too late")

        return StreamingResponse(lines())

    with pytest.raises(RuntimeError, match="too late"):
        request(app, "GET", "/half")


def test_openapi_lists_each_problem_with_an_example() -> None:
    response = make_app().openapi()["paths"]["/problem"]["get"]["responses"]["409"]
    content = response["content"][MEDIA_TYPE]
    assert content["examples"]["OutOfCredit"]["value"]["type"] == "/problems/out-of-credit"
    assert content["schema"]["required"] == ["type", "title", "status"]
