"""What must hold at every moment, by SQL alone; and servers that a test may break."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from deskbook.desk import RunningApp
from deskbook.desk.database import desk_template
from deskbook.services import binaries
from deskbook.services.postgres_server import PostgresServer
from deskbook.services.server import Server
from deskbook.services.valkey_server import ValkeyServer

#: Each finds the rows that break a rule. One statement each, so each sees one moment.
INVARIANTS = {
    "the ledger sums to zero": "SELECT sum(amount) FROM ledger_entries HAVING sum(amount) <> 0",
    "each transaction sums to zero": """
        SELECT transaction_id FROM ledger_entries GROUP BY transaction_id HAVING sum(amount) <> 0
    """,
    "a balance is the sum of its entries, and not below its limit": """
        SELECT a.id FROM accounts a LEFT JOIN ledger_entries e ON e.account_id = a.id WHERE a.kind = 'cash'
        GROUP BY a.id HAVING a.balance <> coalesce(sum(e.amount), 0) OR a.balance < a.minimum_balance
    """,
    "what is held is what active orders need": """
        SELECT held, needed FROM
            (SELECT coalesce(sum(amount), 0) AS held FROM ledger_entries
                WHERE account_id = '00000000-0000-4000-8000-000000000002') ledger,
            (SELECT coalesce(sum(hold_price * (quantity - filled_quantity)), 0) AS needed FROM orders
                WHERE state IN ('pending', 'open')) active
        WHERE held <> needed
    """,
    "a position is the sum of its fills, and not below zero": """
        SELECT p.account_id, p.quantity, f.quantity FROM positions p FULL JOIN
            (SELECT o.account_id, o.instrument_id, sum(f.quantity) AS quantity
                FROM fills f JOIN orders o ON o.id = f.order_id GROUP BY 1, 2) f
            USING (account_id, instrument_id)
        WHERE p.quantity IS DISTINCT FROM f.quantity OR p.quantity < 0
    """,
    "reserved shares are those of active sales": """
        SELECT p.account_id, p.reserved FROM positions p LEFT JOIN orders o
            ON o.account_id = p.account_id AND o.instrument_id = p.instrument_id
            AND o.side = 'sell' AND o.state IN ('pending', 'open')
        GROUP BY p.account_id, p.instrument_id, p.reserved
        HAVING p.reserved <> coalesce(sum(o.quantity - o.filled_quantity), 0)
    """,
    "an order is filled as far as its fills say": """
        SELECT o.id FROM orders o LEFT JOIN fills f ON f.order_id = o.id GROUP BY o.id
        HAVING o.filled_quantity <> coalesce(sum(abs(f.quantity)), 0)
    """,
    "each fill has its transaction": """
        SELECT ledger_transaction_id FROM fills GROUP BY 1 HAVING count(*) > 1
    """,
    "no accepted order is lost: an active one has a job for its version": """
        SELECT o.id FROM orders o WHERE o.state IN ('pending', 'open') AND NOT EXISTS
            (SELECT FROM queue WHERE payload = o.id || ' ' || o.symbol || ' ' || o.version)
    """,
    "one key, one effect: each stored reply of an order names one, and each order has one reply": """
        SELECT key, o.id FROM
            (SELECT key, (convert_from(body, 'UTF8')::json ->> 'id')::bigint AS id FROM idempotency_keys
                WHERE headers::json ->> 'Location' LIKE '/v1/orders/%') k
            FULL JOIN orders o USING (id)
        WHERE o.id IS NULL OR key IS NULL
    """,
    "one key, one effect: each stored reply of a deposit or a withdrawal names an entry": """
        SELECT key FROM
            (SELECT key, headers::json ->> 'Location' AS place,
                convert_from(body, 'UTF8')::json ->> 'id' AS id FROM idempotency_keys) k
        WHERE place LIKE '%/entries/%' AND NOT EXISTS
            (SELECT FROM ledger_entries e WHERE place = '/v1/accounts/' || e.account_id || '/entries/' || e.id
                AND e.id = k.id::bigint)
    """,
    "no reply was stored twice": """
        SELECT headers::json ->> 'Location' AS place FROM idempotency_keys
        WHERE headers::json ->> 'Location' <> '/v1/users/me' GROUP BY 1 HAVING count(*) > 1
    """,
}

Invariants = Callable[[str], Awaitable[None]]


@pytest.fixture(scope="session")
def invariants() -> Invariants:
    """Return what asserts all invariants of the database at an address."""

    async def hold(database_url: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            broken: dict[str, list[Any]] = {}
            for rule, query in INVARIANTS.items():
                rows = await connection.fetch(query)
                if rows:
                    broken[rule] = rows[:3]
        finally:
            await connection.close()
        assert broken == {}

    return hold


class OwnServer:
    """A server of one test file, which the file may kill, freeze and bring back at the same address.

    Args:
        server: Not launched yet.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._frozen: list[psutil.Process] = []
        server.launch()
        server.wait_ready()
        self.url = server.url

    def kill(self) -> None:
        """End it without a word to its clients' transactions: PostgreSQL recovers from its log afterwards."""
        self._server.stop()

    def start(self) -> None:
        """Bring it back, on the same port with the data that it had."""
        self._server.start()
        self._server.wait_ready()

    def freeze(self) -> None:
        """Let it take connections and say nothing, as a machine does whose disk hangs."""
        assert self._server.process is not None
        main = psutil.Process(self._server.process.pid)
        main.suspend()  # first, so that no child comes after the list is made
        self._frozen = [main, *main.children(recursive=True)]
        for process in self._frozen[1:]:
            process.suspend()

    def thaw(self) -> None:
        """Let it go on where it was."""
        for process in self._frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        self._frozen = []

    def end(self) -> None:
        """End it for good."""
        self.thaw()
        self._server.stop()


@contextlib.contextmanager
def own_server(kind: type[Server], name: str, **settings: str) -> Iterator[OwnServer]:
    with tempfile.TemporaryDirectory() as folder:
        port = quiet_port()
        server = OwnServer(kind(binaries.find(name), Path(folder), settings, lambda: port))
        try:
            yield server
        finally:
            server.end()


def quiet_port() -> int:
    """Return a free port that the system gives nobody while the server is away: below those of clients.

    A client that asks for a port where nobody listens can otherwise be given that very port as its own, and
    then it talks to itself.
    """
    for port in random.sample(range(15_000, 30_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[OwnServer]:
    """Give a PostgreSQL with the desk's database in it, which no other file uses."""
    with own_server(PostgresServer, "postgres") as server:
        # Built in a thread, as the template is: it runs event loops of its own.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, build(server.url)).result()
        yield server


async def build(url: str) -> None:
    made = desk_template().build(url)
    assert made is not None
    await made


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[OwnServer]:
    """Give a Valkey that loses nothing when it is killed, and that no other file uses."""
    with own_server(ValkeyServer, "redis", appendonly="yes", appendfsync="always") as server:
        yield server


async def ask(desk: RunningApp, path: str, accept: str, send: Callable[[Any], Awaitable[None]]) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "scheme": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "root_path": "",
        "headers": [
            (b"accept", accept.encode()),
            (b"authorization", desk.client.headers["authorization"].encode()),
        ],
        "state": dict(desk.state),
    }

    async def receive() -> Any:
        await asyncio.Event().wait()

    await desk.app(scope, receive, send)


@pytest.fixture
def ask_the_app() -> Callable[..., Awaitable[None]]:
    """Ask straight at the app, as the server does: its `send` may be slow, and sees what the app raises."""
    return ask
