"""A crash at each step of an order, forced on the wire between the service and PostgreSQL.

Every message of the service to the database is a step. At each, in turn, the connection is cut: before the
message arrives (the service died before it), and after it (the database has done it, the answer is lost). The
client sends the order again, as clients do, and has one order.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from deskbook.desk import RunningApp, running_app
from sqlalchemy.engine import make_url

from tests.app.trader import Trader

MANY = 1000
CONNECTIONS = 50


class Wire:
    """A TCP connection to the database that counts the messages of the service, and cuts at one of them."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.messages = 0
        self.cut_before: int | None = None
        self.cut_after: int | None = None

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        self._abort()

    def arm(self, *, before: int | None = None, after: int | None = None) -> None:
        """Count from zero, and cut at the message of this number."""
        self.messages, self.cut_before, self.cut_after = 0, before, after

    def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        database_reader, database_writer = await asyncio.open_connection(*self._target)
        self._open |= {writer, database_writer}
        with contextlib.suppress(ConnectionError):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._to_database(reader, database_writer))
                group.create_task(self._to_service(database_reader, writer))

    async def _to_database(self, service: asyncio.StreamReader, database: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await service.read(65536):
                self.messages += 1
                if self.messages == self.cut_before:
                    self._abort()
                    return
                database.write(data)
        database.close()

    async def _to_service(self, database: asyncio.StreamReader, service: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await database.read(65536):
                if self.messages == self.cut_after:
                    # The database has answered: it has done what this message asked for.
                    self._abort()
                    return
                service.write(data)
        service.close()


@pytest.fixture(scope="module")
async def wired() -> AsyncIterator[tuple[RunningApp, Wire]]:
    """Give an app that reaches its database over a wire."""
    async with running_app() as outer:
        url = make_url(outer.database_url)
        async with Wire(url.host or "127.0.0.1", url.port or 5432) as wire:
            through = url.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
            async with running_app(database_url=through) as desk:
                yield desk, wire


async def in_the_end(request: Any) -> httpx.Response:
    """Send until there is an answer that is none of a fault, as a client does.

    A request is in progress until PostgreSQL has noticed that its connection was cut: until then its
    transaction holds the lock of the key, and the client is told when to ask again.
    """
    for _ in range(20):
        reply: httpx.Response = await request()
        is_in_progress = reply.status_code == 409 and reply.json()["type"] == "/problems/request-in-progress"
        if reply.status_code < 500 and not is_in_progress:
            return reply
        if is_in_progress:
            await asyncio.sleep(int(reply.headers["retry-after"]))
    raise AssertionError(f"no answer: {reply.status_code} {reply.text}")


@pytest.mark.parametrize("where", ["before", "after"])
async def test_an_order_is_placed_once_whatever_step_it_dies_at(
    wired: tuple[RunningApp, Wire], where: str, invariants: Any
) -> None:
    desk, wire = wired
    account = await Trader(desk).open_account()
    await Trader(desk).place(account)  # warm: connections, prepared statements, the instrument
    wire.arm()
    assert (await Trader(desk).place(account)).status_code == 201
    steps = wire.messages
    assert 6 <= steps <= 7, "begin, lock, find, book, order with job and event, reply, commit"
    (before,) = await desk.sql("SELECT count(*) FROM orders")
    faults = 0
    for step in range(1, steps + 1):
        key = str(uuid.uuid4())
        await in_the_end(lambda: desk.client.get("/v1/orders?limit=1"))  # a whole connection again
        await Trader(desk).place(account)  # which has prepared its statements
        wire.arm(**{where: step})
        first = await Trader(desk).place(account, key=key)
        wire.arm()
        faults += first.status_code == 503
        reply = await in_the_end(lambda key=key: Trader(desk).place(account, key=key))
        assert reply.status_code == 201, f"step {step}: {reply.text}"
        assert (reply.headers.get("idempotency-replayed") == "true") == (
            first.status_code == 201 or (where == "after" and step == steps)
        ), f"step {step}"
        await invariants(desk.database_url)
    assert faults == steps
    (after,) = await desk.sql("SELECT count(*) FROM orders")
    assert after["count"] == before["count"] + 2 * steps
    (held,) = await desk.sql("SELECT balance FROM accounts WHERE id = $1", uuid.UUID(account))
    assert held["balance"] == 1_000 - 40 * (2 + 2 * steps)


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_cancellation_gives_back_once_whatever_step_it_dies_at(
    wired: tuple[RunningApp, Wire], where: str, invariants: Any
) -> None:
    desk, wire = wired
    account = await Trader(desk).open_account()
    for step in range(1, 8):
        await in_the_end(lambda: desk.client.get("/v1/orders?limit=1"))
        order = (await Trader(desk).place(account)).json()["id"]
        wire.arm(**{where: step})
        await desk.client.post(f"/v1/orders/{order}/cancel")
        wire.arm()
        reply = await in_the_end(lambda order=order: desk.client.post(f"/v1/orders/{order}/cancel"))
        assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")
        await invariants(desk.database_url)
    (row,) = await desk.sql("SELECT balance FROM accounts WHERE id = $1", uuid.UUID(account))
    assert row["balance"] == 1_000


async def test_reading_takes_one_round_trip(wired: tuple[RunningApp, Wire]) -> None:
    desk, wire = wired
    order = (await Trader(desk).place(await Trader(desk).open_account())).json()["id"]
    for path in (f"/v1/orders/{order}", "/v1/orders?limit=100"):
        await desk.client.get(path)
        wire.arm()
        assert (await desk.client.get(path)).status_code == 200
        assert wire.messages == 1, path


async def test_a_thousand_duplicates_at_once_are_one_order(invariants: Any) -> None:
    async with running_app(database_pool_size=20, database_pool_timeout_s=60) as desk:
        account, key = await Trader(desk).open_account(), "a thousand times"
        key = "thousand"
        bound = asyncio.Semaphore(CONNECTIONS)

        async def send() -> httpx.Response:
            async with bound:
                return await Trader(desk).place(account, key=key)

        replies = await asyncio.gather(*(send() for _ in range(MANY)))
        by_status: dict[int, set[bytes]] = {}
        for reply in replies:
            by_status.setdefault(reply.status_code, set()).add(reply.content)
        assert set(by_status) <= {201, 409, 429}, by_status.keys()
        assert len(by_status[201]) == 1
        for reply in replies:
            if reply.status_code == 409:
                assert reply.json()["type"] == "/problems/request-in-progress"
                assert reply.headers["retry-after"] == "1"
        assert await desk.sql("SELECT count(*) FROM orders") == [{"count": 1}]
        assert (await Trader(desk).place(account, key=key)).status_code in {201, 429}
        (row,) = await desk.sql("SELECT balance FROM accounts WHERE id = $1", uuid.UUID(account))
        assert row["balance"] == 1_000 - 40
        await invariants(desk.database_url)
