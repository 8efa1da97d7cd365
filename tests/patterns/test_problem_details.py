"""Every error is a problem, and none repeats what the client sent. Requests go straight to the ASGI app."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ByteSize, Field, HttpUrl, ImportString, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from reference_app.patterns.problem_details import (
    MEDIA_TYPE,
    Problem,
    ProblemMiddleware,
    documented,
    install,
    of_status,
)


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


def messages(app: Any, method: str, path: str, body: bytes = b"", length: int | None = None) -> list[Any]:
    """Send one request; without `length` the body comes without Content-Length, as in a chunked upload."""
    headers = [(b"content-type", b"application/json")]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote(path),
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
    return sent


def request(app: Any, method: str, path: str, body: bytes = b"", length: int | None = None) -> Reply:
    sent = messages(app, method, path, body, length)
    assert [message["type"] for message in sent].count("http.response.start") == 1
    head = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], head, json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def test_a_log_says_what_the_problem_was() -> None:
    assert str(OutOfCredit("The price is 50.00.")) == "The price is 50.00."
    assert str(OutOfCredit()) == "Out of credit"


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


class Profile(BaseModel):
    """Types whose errors quote what was sent."""

    zone: ZoneInfo | None = None
    quota: ByteSize = ByteSize(0)
    plugin: ImportString[Any] = None
    number: uuid.UUID | None = None
    kind: Literal["card"] | None = None
    tags: list[str] = []
    at: dt.datetime | None = None
    site: HttpUrl | None = None

    @field_validator("tags")
    @classmethod
    def _of_another_library(cls, value: list[str]) -> list[str]:
        for tag in value:
            if tag:
                raise PydanticCustomError("tag", "no such tag: {tag}", {"tag": tag})
            raise PydanticCustomError("tag", "a tag is {empty}", {"empty": ""})
        return value


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("zone", "hunter2", "invalid timezone"),
        ("quota", "5 hunter2", "could not interpret byte unit"),
        ("quota", "hunter2", "could not parse value and unit from byte string"),
        ("plugin", "hunter2.hunter2", "Invalid python path"),
        ("number", "hunter2", "Input should be a valid UUID"),
        ("tags", ["hunter2"], "no such tag"),
        ("tags", [""], "a tag is"),
        ("kind", "hunter2", "Input should be 'card'"),
        ("at", "hunter2", "Input should be a valid datetime or date, input is too short"),
        ("site", "hunter2", "Input should be a valid URL, relative URL without a base"),
    ],
)
def test_no_message_of_a_library_repeats_what_was_sent(field: str, value: object, detail: str) -> None:
    app = FastAPI()
    install(app)

    @app.post("/profile")
    async def save(profile: Profile) -> None: ...

    status, _, reply = request(app, "POST", "/profile", json.dumps({field: value}).encode())
    assert (status, reply["errors"]) == (422, [{"in": "body", "pointer": f"/{field}", "detail": detail}])


OWN = {
    "type": "value_error",
    "loc": (),
    "msg": "Value error, low is above high",
    "ctx": {"error": ValueError()},
}


@pytest.mark.parametrize(
    ("errors", "explained"),
    [
        ([OWN], [("request", "", "Value error, low is above high")]),
        ([OWN | {"loc": ("low",)}], [("request", "/low", "Value error, low is above high")]),
        ([OWN | {"loc": ["query", "low", 0]}], [("query", "/low/0", "Value error, low is above high")]),
        ([OWN | {"loc": "low"}], [("request", "/low", "Value error, low is above high")]),
        ([{"msg": "no type, no place"}], [("request", "", "no type, no place")]),
        ([{"loc": None, "msg": None, "ctx": None}], [("request", "/None", "None")]),
        ([{}, "a text", None], [("request", "", "is not valid")] * 3),
        (({},), [("request", "", "is not valid")]),
        ([], []),
        ([OWN] * 1000, [("request", "", "Value error, low is above high")] * 100),
    ],
)
def test_errors_of_any_shape_are_a_422(errors: Any, explained: list[tuple[str, str, str]]) -> None:
    app = FastAPI()
    install(app)

    @app.get("/")
    async def read() -> None:
        raise RequestValidationError(errors)

    status, _, reply = request(app, "GET", "/")
    assert status == 422
    assert [(it["in"], it["pointer"], it["detail"]) for it in reply.get("errors", [])] == explained


@pytest.mark.parametrize(
    ("detail", "members"),
    [
        ("Taken.", {"detail": "Taken."}),
        ("Conflict", {}),
        ("", {}),
        ({"code": "TAKEN", "free": None}, {"details": {"code": "TAKEN", "free": None}}),
        (["a", 1], {"details": ["a", 1]}),
        (
            {"at": dt.date(2026, 11, 20), "price": Decimal("0.10")},
            {"details": {"at": "2026-11-20", "price": "0.10"}},
        ),
        ({"status": 200, "title": "no"}, {"details": {"status": 200, "title": "no"}}),
        (RuntimeError("odd"), {"details": "odd"}),
    ],
)
def test_a_detail_that_is_no_text_stays_json(detail: Any, members: dict[str, Any]) -> None:
    app = FastAPI()
    install(app)

    @app.get("/")
    async def read() -> None:
        raise HTTPException(409, detail, {"X-Reason": "taken"})

    status, headers, reply = request(app, "GET", "/")
    assert (status, headers["x-reason"]) == (409, "taken")
    assert reply == {"type": "about:blank", "title": "Conflict", "status": 409} | members


KEPT = [
    (b"retry-after", b"30"),
    (b"allow", b"GET"),
    (b"set-cookie", b"a=1"),
    (b"set-cookie", b"b=2"),
    (b"vary", b"Origin"),
]
GONE = [
    (b"content-type", b"text/plain"),
    (b"content-length", b"5"),
    (b"content-encoding", b"gzip"),
    (b"etag", b'"a"'),
]


@pytest.mark.parametrize("status", [400, 401, 405, 503])
def test_a_plain_error_becomes_a_problem_and_keeps_what_it_says_besides(status: int) -> None:
    app = FastAPI()
    install(app)

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [*KEPT, *GONE]})
        await send({"type": "http.response.body", "body": b"later"})

    app.mount("/sub", mounted)
    sent = messages(app, "GET", "/sub/")
    headers = sent[0]["headers"]
    assert [it for it in headers if it[0] not in {b"content-type", b"content-length"}] == KEPT
    assert dict(headers)[b"content-type"] == MEDIA_TYPE.encode()
    body = b"".join(it.get("body", b"") for it in sent[1:])
    assert (json.loads(body)["status"], int(dict(headers)[b"content-length"])) == (status, len(body))


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (204, None),
        (503, None),
        (399, [(b"content-type", b"text/plain")]),
        (400, [(b"content-type", b"text/html")]),
    ],
)
def test_a_reply_that_is_no_plain_error_passes_as_it_is(status: int, headers: Any) -> None:
    app = FastAPI()
    install(app)
    start = {"type": "http.response.start", "status": status} | (
        {} if headers is None else {"headers": headers}
    )

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": b"as it is"})

    app.mount("/sub", mounted)
    assert messages(app, "GET", "/sub/") == [start, {"type": "http.response.body", "body": b"as it is"}]


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_gets_none(status: int) -> None:
    app = FastAPI()
    install(app)

    @app.get("/")
    async def read() -> None:
        raise HTTPException(status, headers={"ETag": '"a"'})

    sent = messages(app, "GET", "/")
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"etag"]) == (status, b'"a"')
    assert b"".join(it.get("body", b"") for it in sent[1:]) == b""


@pytest.mark.parametrize("end", ["%0a", "%0d%0a", "%E2%80%A8", "%C2%85"])
def test_a_path_with_ends_of_lines_writes_no_lines_into_the_log(
    end: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    install(app)

    @app.get("/{name}")
    async def crash(name: str) -> None:
        raise RuntimeError("odd")

    request(app, "GET", f"/a{end}CRITICAL")
    # Not those of asyncio: what other tests have left is logged when it is collected.
    [record] = [it for it in caplog.records if it.name != "asyncio"]
    assert len(record.getMessage().splitlines()) == 1


def test_a_crash_says_nothing_to_the_client_and_everything_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        status, headers, body = request(make_app(), "GET", "/crash")
    assert (status, headers["content-type"]) == (500, MEDIA_TYPE)
    assert body == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
    assert "GET '/crash' failed" in caplog.text
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


def test_a_problem_without_more_is_a_500_and_statuses_have_the_titles_of_rfc_9110() -> None:
    assert (Problem().response().status_code, Problem.title) == (500, "Internal Server Error")
    titles = {status: of_status(status).title for status in (413, 422, 423, 499)}
    assert titles == {413: "Content Too Large", 422: "Unprocessable Content", 423: "Locked", 499: "Error"}


def test_problems_of_one_status_are_described_together() -> None:
    class Closed(Problem):
        type, title, status = "/problems/closed", "The exchange is closed", 409

    [entry] = documented(OutOfCredit, Closed).values()
    assert entry["description"] == "Out of credit. The exchange is closed. "
    assert set(entry["content"][MEDIA_TYPE]["examples"]) == {"OutOfCredit", "Closed"}


def test_a_websocket_that_fails_is_left_to_the_server() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("odd")

    with pytest.raises(RuntimeError, match="odd"):
        asyncio.run(ProblemMiddleware(fails)({"type": "websocket"}, None, None))  # type: ignore[arg-type]
