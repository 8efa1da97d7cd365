"""A mixed load of 32 clients, and in the middle of it a fault: of a process, of the database, of Redis.

Two workers, two matchers and a relay, with servers of their own that may be killed. Every fault lasts until
clients have felt it, counted in answers, and not for a time.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from deskbook.desk.companions import companions
from deskbook.desk.database import PASSWORD, TOKEN_SECRET, USER
from deskbook.serving import ServedApp, serving_app
from redis.asyncio import Redis

from reference_app.processes import PROCESSES

CLIENTS = 32
#: What each client does after it has opened its account.
FEW, MANY = 3, 12
PATIENCE_S = 60
#: No answer takes longer, whatever is away: a place in the pool, then a statement, each for 10 s at most.
WAIT_S = 10
BOUND_S = 2 * WAIT_S + 5
#: Clients let go of a connection before uvicorn does, after 5 s: neither cuts off what the other sends.
KEEP_S = 2
#: Answers in a row that are the same, each over a connection of its own: then both workers have given some.
IN_A_ROW = 30
WAITING = "Trying again for"
STARTED = "Application startup complete."
REPORT = "/v1/instruments/AAPL/aggregates/monthly/2012"


@dataclass
class Load:
    """What the clients were told."""

    accepted: dict[str, int] = field(default_factory=dict)  # order by key
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    cut: int = 0
    #: They share a user, and a user who opens many accounts at once is told to try again.
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self, reply: httpx.Response) -> None:
        """Count an answer, and hold it to the rules for answers in a fault."""
        if reply.status_code >= 500:
            assert reply.status_code in {500, 503}
            assert reply.headers["content-type"] == "application/problem+json", reply.text
            assert reply.elapsed.total_seconds() < BOUND_S
            self.faults.append(f"{reply.request.method} {reply.request.url.path} {reply.text}")
        async with self._changed:
            self.statuses[reply.status_code] += 1
            self._changed.notify_all()

    async def until(self, enough: Callable[[Counter[int]], bool]) -> None:
        """Return when the answers so far are enough."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: enough(self.statuses))


@dataclass
class Desk:
    """What serves, and what may be broken."""

    app: ServedApp
    processes: Any
    postgres: Any
    valkey: Any
    database_url: str
    starts: int = 2

    def workers(self) -> tuple[psutil.Process, psutil.Process]:
        """Return the two that serve."""
        children = psutil.Process(self.app.pid).children()
        one, other = (child for child in children if "spawn_main" in " ".join(child.cmdline()))
        return one, other

    async def said(self, words: str, times: int) -> None:
        """Return when the log of the workers has the words so often."""
        async with asyncio.timeout(PATIENCE_S):
            while self.app.log().count(words) < times:  # noqa: ASYNC110 - the log of another process
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
async def desk(own_postgres: Any, own_valkey: Any) -> AsyncIterator[Desk]:
    settings = {
        "DATABASE_URL": own_postgres.url,
        "REDIS_URL": own_valkey.url,
        "DESK_TOKEN_SECRET": TOKEN_SECRET,
        "DESK_RATE_LIMIT": "1000000",
        "DESK_DATABASE_POOL_TIMEOUT_S": str(WAIT_S),
        "DESK_DATABASE_COMMAND_TIMEOUT_S": str(WAIT_S),
        "DESK_DATABASE_LOCK_TIMEOUT_S": str(WAIT_S),
        "DESK_MATCHER_LEASE_S": "2",
        "DESK_MATCHER_POLL_INTERVAL_S": "0.1",
        "DESK_MATCHER_TASKS": "2",
        "DESK_MATCHER_LOOK_AGAIN_S": "0.5",
        "DESK_DATABASE_POOL_SIZE": "8",
        "DESK_SHUTDOWN_NOTICE_S": "0",
    }
    matcher, relay = PROCESSES["matcher"], PROCESSES["relay"]
    async with AsyncExitStack() as stack:
        # One after the other: on a busy machine all six at once take longer than a start may.
        app = await stack.enter_async_context(serving_app(workers=2, settings=settings))
        processes = stack.enter_context(companions(settings, matcher, matcher, relay, quiet=True))
        yield Desk(app, processes, own_postgres, own_valkey, settings["DATABASE_URL"])


async def persistent(
    client: httpx.AsyncClient, load: Load, method: str, url: str, **options: Any
) -> httpx.Response:
    """Send until there is an answer that is none of a fault: what a client does whose answer was lost."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                reply = await client.request(method, url, **options)
            except httpx.TimeoutException:
                raise  # nobody may be left without an answer
            except httpx.TransportError:
                load.cut += 1
                await asyncio.sleep(0.05)
                continue
            await load.note(reply)
            if reply.status_code < 500 and reply.json().get("type") != "/problems/request-in-progress":
                return reply
            await asyncio.sleep(0.2)


async def trade(client: httpx.AsyncClient, number: int, operations: int, load: Load) -> None:
    """Do what a busy trader does, with an account of their own."""
    dice = random.Random(number)

    async def send(method: str, url: str, **options: Any) -> httpx.Response:
        return await persistent(client, load, method, url, **options)

    async with load.opening:
        account = (await send("POST", "/v1/accounts", json={"name": f"Client {number}"})).json()["id"]
    deposits = f"/v1/accounts/{account}/deposits"
    assert (await send("POST", deposits, json={"amount": "50000.00"})).status_code == 201
    own: list[str] = []
    for _ in range(operations):
        choice = dice.random()
        if choice < 0.6 or not own:
            order: dict[str, Any] = {"account_id": account, "symbol": dice.choice(["AAPL", "IBM", "MSFT"])}
            order |= {"side": dice.choice(["buy", "buy", "sell"]), "quantity": dice.randint(1, 20)}
            limit = {"type": "limit", "limit_price": dice.choice(["1.00", "900.00"])}
            order |= dice.choice([{"type": "market"}, limit])
            key = str(uuid.uuid4())
            sent = {"json": order, "headers": {"Idempotency-Key": key}}
            reply = await send("POST", "/v1/orders", **sent)
            assert reply.status_code in {201, 409}, reply.text  # 409: no cash, or no shares
            if reply.status_code == 201:
                load.accepted[key] = reply.json()["id"]
                own.append(reply.headers["location"])
                again = await send("POST", "/v1/orders", **sent)
                assert again.content == reply.content
        elif choice < 0.75:
            assert (await send("POST", f"{dice.choice(own)}/cancel")).status_code in {200, 409}
        elif choice < 0.9:
            path = dice.choice(own)
            etag = (await send("GET", path)).headers["etag"]
            body = {"quantity": dice.randint(1, 20)}
            reply = await send("PATCH", path, json=body, headers={"If-Match": etag})
            assert reply.status_code in {200, 409, 412}, reply.text
        else:
            assert (await send("GET", "/v1/orders?limit=10")).status_code == 200


async def all_workers_say(desk: Desk, path: str, agreed: Callable[[httpx.Response], bool]) -> None:
    """Return when the workers answer so, one like the other."""
    in_a_row, seen = 0, None
    close = {"Connection": "close"}
    try:
        async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(timeout=BOUND_S, headers=close) as client:
            while in_a_row < IN_A_ROW:
                seen = await client.get(desk.app.url + path)
                in_a_row = in_a_row + 1 if agreed(seen) else 0
                if not in_a_row:
                    await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"the last answer was {seen} {seen and seen.text}") from None


async def a_worker_dies(desk: Desk, load: Load) -> None:
    desk.workers()[0].kill()
    desk.starts += 1
    await desk.said(STARTED, desk.starts)


async def an_outage_of_the_database(
    desk: Desk, load: Load, begin: Callable[[], None], end: Callable[[], None]
) -> None:
    workers = desk.workers()
    refused = load.statuses[503]
    await asyncio.to_thread(begin)
    await load.until(lambda seen: seen[503] >= refused + CLIENTS)
    await all_workers_say(
        desk,
        "/health/ready",
        lambda reply: reply.status_code == 503 and "Failing: database." in reply.json()["detail"],
    )
    await all_workers_say(desk, "/health/live", lambda reply: reply.status_code == 200)
    end()  # in this thread: the server ends with the thread that started it
    await all_workers_say(desk, "/health/ready", lambda reply: reply.json() == {"status": "ok"})
    assert desk.workers() == workers


async def the_database_restarts(desk: Desk, load: Load) -> None:
    await an_outage_of_the_database(desk, load, desk.postgres.kill, desk.postgres.start)
    assert load.cut == 0


async def the_database_hangs(desk: Desk, load: Load) -> None:
    await an_outage_of_the_database(desk, load, desk.postgres.freeze, desk.postgres.thaw)
    assert load.cut == 0


async def an_outage_of_redis(
    desk: Desk, load: Load, begin: Callable[[], None], end: Callable[[], None]
) -> None:
    workers = desk.workers()
    async with httpx.AsyncClient(base_url=desk.app.url, timeout=BOUND_S) as client:
        report = (await client.get(REPORT)).content
        done = load.statuses.total()
        await asyncio.to_thread(begin)
        # Everything goes on: a service whose cache is away is slower, and still ready.
        await all_workers_say(
            desk,
            "/health/ready",
            lambda reply: reply.status_code == 200 and list(reply.json().get("failing", ())) == ["redis"],
        )
        await load.until(lambda seen: seen.total() >= done + CLIENTS)
        await all_workers_say(desk, REPORT, lambda reply: reply.content == report)
        end()
        await all_workers_say(desk, "/health/ready", lambda reply: reply.json() == {"status": "ok"})
        # Requests are counted again, and not let through for want of a counter.
        await all_workers_say(desk, "/v1/instruments/AAPL", lambda reply: "ratelimit" in reply.headers)
    assert load.faults == []
    assert load.cut == 0
    assert desk.workers() == workers


async def processes_die_and_the_database_with_them(desk: Desk, load: Load) -> None:
    """The successor of the worker cannot start; if it gave up, the supervisor would end the service."""
    killed, survivor = desk.workers()
    waiting = desk.app.log().count(WAITING)
    killed.kill()
    desk.processes[0].kill()  # the first of two matchers
    await asyncio.to_thread(desk.postgres.kill)
    desk.starts += 1
    await desk.said(WAITING, waiting + 1)
    await all_workers_say(desk, "/health/ready", lambda reply: reply.status_code == 503)
    desk.postgres.start()
    await desk.said(STARTED, desk.starts)
    await all_workers_say(desk, "/health/ready", lambda reply: reply.json() == {"status": "ok"})
    assert survivor in desk.workers()


async def redis_restarts(desk: Desk, load: Load) -> None:
    await an_outage_of_redis(desk, load, desk.valkey.kill, desk.valkey.start)


async def redis_hangs(desk: Desk, load: Load) -> None:
    await an_outage_of_redis(desk, load, desk.valkey.freeze, desk.valkey.thaw)


async def settled(url: str) -> None:
    """Return when matchers have looked at every order, and the relay has told every event."""
    connection = await asyncpg.connect(url)
    counts = "SELECT (SELECT count(*) FROM orders WHERE state = 'pending'), (SELECT count(*) FROM outbox)"
    left: Any = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while any(left := tuple(await connection.fetchrow(counts))):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"pending orders and events left after {PATIENCE_S} s: {left}") from None
    finally:
        await connection.close()


async def told_versions(url: str) -> dict[int, list[int]]:
    """Return what the stream says of each order: its versions as they came, each event once."""
    client: Redis = Redis.from_url(url, decode_responses=True)
    try:
        events: Any = await client.xrange("desk:orders")
    finally:
        await client.aclose()
    versions: dict[int, list[int]] = defaultdict(list)
    # Told at least once: readers skip an event that they have seen.
    for fields in {fields["event_id"]: fields for _, fields in reversed(events)}.values():
        payload = json.loads(fields["payload"])
        versions[payload["order_id"]].insert(0, payload["version"])
    return versions


Fault = Callable[[Desk, Load], Awaitable[None]]
LONG = pytest.mark.prove
SHORT_FAULTS = (redis_restarts, processes_die_and_the_database_with_them)
LONG_FAULTS = (
    the_database_restarts,
    the_database_hangs,
    redis_restarts,
    redis_hangs,
    a_worker_dies,
)


@pytest.mark.parametrize(
    ("fault", "operations"),
    [
        *(pytest.param(fault, FEW, id=f"{fault.__name__}") for fault in SHORT_FAULTS),
        *(pytest.param(fault, MANY, id=f"{fault.__name__} for long", marks=LONG) for fault in LONG_FAULTS),
    ],
)
async def test_every_invariant_holds_after_a_fault_in_the_middle_of_a_mixed_load(
    desk: Desk, invariants: Any, fault: Fault, operations: int
) -> None:
    connection = await asyncpg.connect(desk.database_url)
    before = {row["id"] for row in await connection.fetch("SELECT id FROM orders")}
    await connection.close()  # the fault would
    load = Load()
    limits = httpx.Limits(max_connections=CLIENTS, keepalive_expiry=KEEP_S)
    async with httpx.AsyncClient(base_url=desk.app.url, timeout=BOUND_S, limits=limits) as client:
        form = {"grant_type": "password", "username": USER, "password": PASSWORD}
        token = (await client.post("/v1/tokens", data=form)).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(trade(client, number, operations, load))
            await load.until(lambda seen: seen.total() >= 3 * CLIENTS)
            await fault(desk, load)
    await invariants(desk.database_url)
    await settled(desk.database_url)
    await invariants(desk.database_url)
    connection = await asyncpg.connect(desk.database_url)
    try:
        stored = {
            row["id"]: row["version"] for row in await connection.fetch("SELECT id, version FROM orders")
        }
        fills = await connection.fetchval("SELECT count(*) FROM fills")
    finally:
        await connection.close()
    # Every order whose acceptance was heard of is there, once for its key, and no other is.
    assert stored.keys() - before == set(load.accepted.values())
    assert len(load.accepted) == len(stored.keys() - before) >= CLIENTS
    assert fills > 0
    told = await told_versions(desk.valkey.url)
    assert {
        order: versions for order, versions in told.items() if versions != list(range(1, stored[order] + 1))
    } == {}
    assert told.keys() == stored.keys()
