"""503 with Retry-After and never 500, whatever way the database is away, and whichever route asks it."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

import pytest
from deskbook.desk import RunningApp, running_app
from sqlalchemy.engine import make_url

#: One read of each noun that asks the database: through SQLAlchemy, or straight at the driver.
READS = ("/v1/orders", "/v1/orders/1", "/v1/accounts", f"/v1/accounts/{uuid.UUID(int=1)}", "/v1/watchlists")
WRITES = ("/v1/accounts",)


class Door:
    """Stands before PostgreSQL: open, or it says to each connection what a server says that takes none."""

    def __init__(self, host: str, port: int) -> None:
        self._target, self._open = (host, port), set[asyncio.StreamWriter]()
        self.sqlstate: str | None = None
        self.port = 0

    async def __aenter__(self) -> Door:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """End all connections."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if self.sqlstate is not None:
                await self._refuse(reader, writer)
                return
            there, back = await asyncio.open_connection(*self._target)
            self._open.add(back)
            await asyncio.gather(_copy(reader, back), _copy(there, writer))

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a start-up message with an error (PostgreSQL documentation, 54.7 Message Formats)."""
        size = int.from_bytes(await reader.readexactly(4), "big")
        if (await reader.readexactly(size - 4))[:4] == (80877103).to_bytes(4, "big"):  # SSLRequest
            writer.write(b"N")
            size = int.from_bytes(await reader.readexactly(4), "big")
            await reader.readexactly(size - 4)
        fields = f"SFATAL\0VFATAL\0C{self.sqlstate}\0Mno connection for you\0\0".encode()
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        await writer.drain()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@pytest.fixture(scope="module")
async def behind_a_door() -> AsyncIterator[tuple[RunningApp, Door]]:
    async with running_app() as outer:
        url = make_url(outer.database_url)
        async with Door(url.host or "127.0.0.1", url.port or 5432) as door:
            through = url.set(host="127.0.0.1", port=door.port).render_as_string(hide_password=False)
            async with running_app(database_url=through) as desk:
                yield desk, door


@pytest.mark.parametrize(
    "sqlstate",
    ["53300", "57P03", "57P01"],
    ids=["every connection is taken", "it starts or stops", "an operator ended it"],
)
@pytest.mark.parametrize("path", READS)
async def test_a_read_is_503_while_the_database_takes_no_connection(
    behind_a_door: tuple[RunningApp, Door], path: str, sqlstate: str
) -> None:
    desk, door = behind_a_door
    door.sqlstate = sqlstate
    try:
        door.cut()
        await asyncio.sleep(0)  # the driver hears of it
        reply = await desk.client.get(path)
        if reply.status_code == 200 or reply.status_code == 404:  # it had not heard: now it has
            reply = await desk.client.get(path)
        assert (reply.status_code, reply.headers.get("retry-after")) == (503, "1"), reply.text
        assert reply.json()["type"] == "/problems/service-unavailable"
    finally:
        door.sqlstate = None
    async with asyncio.timeout(10):
        while (await desk.client.get(path)).status_code == 503:
            pass


@pytest.mark.parametrize("error", [OSError("Multiple exceptions: [Errno 111] ..."), ConnectionRefusedError()])
async def test_no_connection_at_all_is_503(own_desk: RunningApp, error: OSError) -> None:
    async def no_connection() -> None:
        raise error

    own_desk.app.get("/broken")(no_connection)
    assert (await own_desk.client.get("/broken")).status_code == 503


async def test_a_file_that_is_not_there_is_a_fault(own_desk: RunningApp) -> None:
    async def no_file() -> None:
        raise FileNotFoundError

    own_desk.app.get("/broken")(no_file)
    assert (await own_desk.client.get("/broken")).status_code == 500
