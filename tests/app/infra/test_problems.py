"""Each error of the whole app is a problem: the framework's, the database's and our own faults."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import asyncpg
import httpx
import pytest
from deskbook.desk import RunningApp, running_app
from sqlalchemy.engine import make_url

from reference_app.patterns.problem_details import Problem

MEDIA_TYPE = "application/problem+json"


def is_problem(reply: httpx.Response, status: int, type_: str = "about:blank") -> None:
    assert (reply.status_code, reply.headers["content-type"]) == (status, MEDIA_TYPE), reply.text
    body = reply.json()
    assert (body["status"], body["type"]) == (status, type_)
    assert body["title"]


async def test_an_address_that_is_not_there(desk: RunningApp) -> None:
    is_problem(await desk.client.get("/v1/nowhere"), 404)
    is_problem(await desk.client.get("/v1/instruments/"), 404)  # one spelling, and no redirect to http://
    is_problem(await desk.client.get("/docs/assets/nowhere.js"), 404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/instruments", "GET, HEAD"),
        ("PUT", "/v1/accounts", "GET, HEAD, POST"),
        ("PUT", "/v1/accounts/00000000-0000-4000-8000-000000000009", "GET, HEAD"),
        ("HEAD", "/v1/tokens", "POST"),
    ],
)
async def test_a_method_that_is_not_allowed_says_which_are(
    desk: RunningApp, method: str, path: str, allow: str
) -> None:
    reply = await desk.client.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allow)
    if method != "HEAD":
        is_problem(reply, 405)


async def test_a_body_over_the_limit_with_and_without_its_length_told(desk: RunningApp) -> None:
    limit = desk.state["settings"].max_body_size_bytes
    headers = {"content-type": "application/json"}

    async def chunks() -> object:
        yield b" " * limit
        yield b"{}"

    for content in (b" " * (limit + 1), chunks()):
        reply = await desk.client.post("/v1/accounts", content=content, headers=headers)  # type: ignore[arg-type]
        is_problem(reply, 413)
        assert reply.json()["title"] == "Content Too Large"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b'{"name": {"password": "hunter2"}}', "application/json"),
        (b'{"name": "hunter2', "application/json"),
        (b'"hunter2"', "application/json"),
        (b"hunter2", "text/plain"),
        (b"\xff\xfehunter2", "application/json"),
        (b"", "application/json"),
    ],
)
async def test_a_rejected_body_is_never_repeated(desk: RunningApp, content: bytes, content_type: str) -> None:
    reply = await desk.client.post("/v1/accounts", content=content, headers={"content-type": content_type})
    is_problem(reply, 422 if b"\xff" not in content else reply.status_code, reply.json()["type"])
    assert reply.status_code in {400, 422}
    assert "hunter2" not in reply.text


async def test_our_own_fault_is_a_500_that_says_nothing_but_in_the_log(
    own_desk: RunningApp, caplog: pytest.LogCaptureFixture
) -> None:
    await own_desk.sql("ALTER TABLE candles RENAME TO elsewhere")
    with caplog.at_level(logging.ERROR):
        reply = await own_desk.client.get("/v1/instruments/AAPL/candles", headers={"x-token": "hunter2"})
    is_problem(reply, 500)
    assert reply.json() == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
    assert "UndefinedTable" in caplog.text
    assert "AAPL" not in caplog.text.replace("/v1/instruments/AAPL", "")  # parameters stay out of the log
    assert "hunter2" not in caplog.text


async def test_a_pool_that_is_used_up_answers_503_in_time_and_not_never() -> None:
    async with running_app(database_pool_size=1, database_pool_timeout_s=0.05) as desk:
        async with desk.state["engine"].connect():
            reply = await desk.client.get("/v1/instruments")
            is_problem(reply, 503, "/problems/service-unavailable")
            assert reply.headers["retry-after"] == "1"
        assert (await desk.client.get("/v1/instruments")).status_code == 200


async def test_a_statement_over_its_time_answers_503() -> None:
    async with running_app(database_command_timeout_s=0.2) as desk:
        # A connection of the test: one of the app would be ended for idling inside its transaction.
        connection = await asyncpg.connect(desk.database_url)
        try:
            await connection.execute("BEGIN; LOCK TABLE instruments IN ACCESS EXCLUSIVE MODE")
            is_problem(await desk.client.get("/v1/instruments"), 503, "/problems/service-unavailable")
        finally:
            await connection.close()
        assert (await desk.client.get("/v1/instruments")).status_code == 200


async def test_connections_that_the_server_closed_are_replaced_unseen(own_desk: RunningApp) -> None:
    assert (await own_desk.client.get("/v1/instruments")).status_code == 200
    closed = asyncio.Event()
    connection = await own_desk.state["engine"].raw_connection()
    driver = connection.driver_connection
    assert driver is not None
    driver.add_termination_listener(lambda _: closed.set())
    connection.close()
    await own_desk.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(10):
        await closed.wait()
    assert (await own_desk.client.get("/v1/instruments")).status_code == 200


async def test_every_problem_type_explains_itself_at_its_address(desk: RunningApp) -> None:
    class Foreign(Problem):
        type = "/problems/foreign"

    pages = (await desk.client.get("/problems")).json()
    types = [page["type"] for page in pages]
    assert types == sorted(set(types))
    assert set(types) > {"/problems/instrument-not-found", "/problems/insufficient-funds"}
    assert "/problems/foreign" not in types
    for page in pages:
        assert (await desk.client.get(page["type"])).json() == page
    is_problem(await desk.client.get("/problems/unknown"), 404)


async def test_readiness_follows_the_database_and_liveness_does_not(own_desk: RunningApp) -> None:
    url = make_url(own_desk.database_url)
    assert url.host is not None
    async with Wire(url.host, url.port or 5432) as wire:
        through_wire = url.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
        async with running_app(database_url=through_wire) as desk:
            desk.state["health"]._max_age_s = 0  # each probe asks anew
            assert (await desk.client.get("/health/ready")).json() == {"status": "ok"}
            wire.cut()
            is_problem(await desk.client.get("/health/ready"), 503, "/problems/service-unavailable")
            is_problem(await desk.client.get("/v1/instruments"), 503, "/problems/service-unavailable")
            assert (await desk.client.get("/health/live")).status_code == 200
            await wire.mend()
            assert (await desk.client.get("/health/ready")).status_code == 200
            assert (await desk.client.get("/v1/instruments")).status_code == 200


class Wire:
    """A TCP connection to the database that the test can cut and mend."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Wire:
        await self.mend()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        self._open |= {writer, upstream_writer}
        async with asyncio.TaskGroup() as group:
            group.create_task(pump(reader, upstream_writer))
            group.create_task(pump(upstream_reader, writer))


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()
