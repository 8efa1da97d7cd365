"""What a client may send before the app is asked, and in what time: on a real uvicorn, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import uvicorn

from reference_app.infra.http import bounded_protocol
from reference_app.infra.http.bounded_protocol import MAX_HEAD_BYTES, BoundedProtocol

TIMEOUT_S = 0.4
HEAD = b"GET / HTTP/1.1\r\nHost: desk.example\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: desk.example\r\n"


class Impatient(BoundedProtocol):
    timeout_s = TIMEOUT_S


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and say how long it was; `/slow` takes longer than a client is waited for."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message["more_body"]:
            break
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * TIMEOUT_S)
    body = str(size).encode()
    fields = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Serve the app with a protocol that waits for a short time."""
    config = uvicorn.Config(app, port=0, http=Impatient, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def reply_to(port: int, pieces: Iterable[bytes], wait_s: float = 0.0) -> bytes:
    """Return all that the server says until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(wait_s)
        return await asyncio.wait_for(reader.read(), 10)
    except (ConnectionResetError, BrokenPipeError):
        return b""  # cut while we were sending
    finally:
        writer.close()


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply else 0


async def test_what_fits_is_served(port: int) -> None:
    value = b"a" * (MAX_HEAD_BYTES - 1000)
    for head in (HEAD, HEAD + b"X-A: " + value + b"\r\n", b"GET / HTTP/1.0\r\n"):
        assert status_of(await reply_to(port, [head + b"Connection: close\r\n\r\n"])) == 200
    for host in (b"desk.example:8000", b"[::1]:8000", b"127.0.0.1", b""):
        head = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
        assert status_of(await reply_to(port, [head])) == 200, host


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([HEAD + b"X-A: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n"], 431),
        ([HEAD, *(b"X-A: " + b"a" * 1000 + b"\r\n" for _ in range(70))], 431),
        ([HEAD + b"X-A: ", *(b"a" * 10_000 for _ in range(8))], 431),
        ([b"GET /", *(b"a" * 10_000 for _ in range(8))], 414),
        ([b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"], 414),
        ([b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"], 400),
        ([HEAD + b"Host: other.example\r\n\r\n"], 400),
        ([b"GET / HTTP/1.1\r\nHost: a b/<>\r\n\r\n"], 400),
        ([b"no request\r\n\r\n"], 400),
    ],
)
async def test_what_does_not_fit_is_refused_as_a_problem(port: int, pieces: list[bytes], status: int) -> None:
    reply = await reply_to(port, pieces)
    assert status_of(reply) in {status, 0}
    if reply:
        head, _, body = reply.partition(b"\r\n\r\n")
        assert b"content-type: application/problem+json" in head
        assert b"cache-control: no-store" in head
        assert b"x-content-type-options: nosniff" in head
        assert b'"status": %d' % status in body


async def test_a_trailer_is_bounded_as_a_head_is(port: int) -> None:
    pieces = [UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: ", *([b"a" * 10_000] * 8)]
    assert status_of(await reply_to(port, pieces)) in {431, 0}


async def test_a_body_is_not_counted_as_a_head(port: int) -> None:
    size = 5 * MAX_HEAD_BYTES
    head = UPLOAD + f"Content-Length: {size}\r\nConnection: close\r\n\r\n".encode()
    reply = await reply_to(port, [head, *(b"a" * MAX_HEAD_BYTES for _ in range(5))])
    assert reply.endswith(str(size).encode())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 0),
        (HEAD, 408),
        (HEAD + b"X-A: ", 408),
        (UPLOAD + b"Content-Length: 100\r\n\r\nabc", 408),
    ],
)
async def test_who_goes_silent_is_let_go(port: int, sent: bytes, status: int) -> None:
    assert status_of(await reply_to(port, [sent])) == status


@pytest.mark.parametrize("head", [b"", HEAD + b"X-A: ", UPLOAD + b"Content-Length: 100\r\n\r\n"])
async def test_a_byte_now_and_then_does_not_keep_a_connection(port: int, head: bytes) -> None:
    began_s = asyncio.get_running_loop().time()
    await reply_to(port, [head, *([b"\r\n" if not head else b"a"] * 40)], wait_s=TIMEOUT_S / 4)
    assert asyncio.get_running_loop().time() - began_s < 9 * TIMEOUT_S


async def test_a_slow_upload_at_the_least_rate_succeeds(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_protocol, "MIN_BYTES_PER_S", 10)  # 10 bytes are worth a second
    head = UPLOAD + b"Content-Length: 100\r\nConnection: close\r\n\r\n"
    reply = await reply_to(port, [head, *([b"a" * 10] * 10)], wait_s=TIMEOUT_S / 2)
    assert reply.endswith(b"100")


async def test_who_waits_for_a_slow_answer_is_not_let_go(port: int) -> None:
    request = b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert status_of(await reply_to(port, [request])) == 200


async def test_a_bad_request_behind_a_good_one_is_not_taken_for_its_answer(port: int) -> None:
    good = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await reply_to(port, [good + b"GET / HTTP/1.1\r\n\r\n"]) == b""
