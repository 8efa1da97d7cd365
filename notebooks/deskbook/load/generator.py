"""The load generator's own process: a plan comes in on stdin, measurements go out on stdout, both JSON.

Started by file path with nothing of this repository imported, so that it is up in a tenth of a second. It
uses a bare asyncio protocol with the httptools parser, and uvloop where it is installed: a full HTTP client
spends more time on a request than the server under test does.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import httptools

#: time.monotonic is the same clock in every process of a machine, so that a server's own times can be laid
#: beside.
clock = time.monotonic

#: Stands for the number of a request, in ten digits: as long as itself, so that Content-Length stays right.
NUMBER = b"{{number}}"


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection with one request in flight."""

    def __init__(self, head_only: bool) -> None:
        self._head_only = head_only
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answer: asyncio.Future[int] | None = None
        self._keep_alive = True

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes, timeout_s: float) -> int:
        """Send the request and return the status once the whole answer is there.

        Raises:
            TimeoutError: No full answer in time.
            ConnectionResetError: The server closed the connection before the end of the answer.
        """
        if self._transport is None:
            raise ConnectionResetError
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        deadline = loop.call_later(timeout_s, self._fail, TimeoutError())
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            deadline.cancel()
            self._answer = None
            if not self._keep_alive:
                self.close()

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Feed the parser (asyncio calls this)."""
        if self._answer is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(ValueError("not HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight (asyncio calls this)."""
        self._fail(ConnectionResetError())

    def on_headers_complete(self) -> None:
        """The head is parsed; an answer to HEAD has no body whatever Content-Length says."""
        if self._head_only:
            self.on_message_complete()

    def on_message_complete(self) -> None:
        """The answer is whole (the parser calls this); 1xx answers are not the answer yet."""
        status = self._parser.get_status_code()
        if status >= 200 and self._answer is not None and not self._answer.done():
            # A server that failed may close the connection behind its answer without saying so in a header;
            # the next request on it would be counted as reset.
            fine = status < 500 and not self._head_only
            self._keep_alive = self._parser.should_keep_alive() and fine
            self._answer.set_result(status)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
            self._keep_alive = False


class Schedule:
    """When each request is due; the two kinds of loop differ here and in `Run.measure`."""

    def __init__(self, plan: dict[str, Any], started_s: float) -> None:
        self._begins_s: float = started_s + plan["start_after_s"]
        self._seconds: float = plan["seconds"]
        self._requests: int = plan["requests"]
        self._rate_per_s: float | None = plan["rate_per_s"]
        if self._rate_per_s is not None:
            self._requests = min(self._requests, math.ceil(self._rate_per_s * self._seconds))
        self._handed_out = 0
        self.ended_by = "requests"

    async def next_due_s(self) -> float | None:
        """Wait until the next request is due and return the moment it was due at; None: no more."""
        if self._handed_out >= self._requests:
            return None
        if self._rate_per_s is not None:
            due_s = self._begins_s + self._handed_out / self._rate_per_s
        else:
            due_s = max(clock(), self._begins_s)
            if due_s - self._begins_s >= self._seconds:
                self.ended_by = "seconds"
                return None
        self._handed_out += 1
        if due_s > clock():
            await asyncio.sleep(due_s - clock())
        return due_s


class Run:
    """One workload: its clients and what they measured."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        #: The request, cut where the number of each goes in; in one piece where all are the same.
        self._pieces: list[bytes] = plan["request"].encode("latin-1").split(NUMBER)
        self._asked = 0
        self._connections: list[Connection | None] = [None] * plan["clients"]
        #: due, sent, done (seconds on the clock) and the status, or the kind of error.
        self._rows: list[tuple[float, float, float, int | str]] = []
        self._generator_lag_s = 0.0
        self._ended_by = ""

    async def warm_up(self) -> None:
        """Send the uncounted requests, spread over the connections."""
        left = iter(range(self._plan["warm_up_requests"]))

        async def client(number: int) -> None:
            for _ in left:
                await self._ask(number, clock())

        await self._all_clients(client)
        self._rows.clear()

    async def measure(self, started_s: float) -> None:
        """Send the counted requests until the schedule ends."""
        schedule = Schedule(self._plan, started_s)
        if self._plan["rate_per_s"] is None:
            await self._closed_loop(schedule)
        else:
            await self._open_loop(schedule)
        self._ended_by = schedule.ended_by
        for connection in filter(None, self._connections):
            connection.close()

    async def _closed_loop(self, schedule: Schedule) -> None:
        """Let each client ask again as soon as it has its answer."""

        async def client(number: int) -> None:
            while (due_s := await schedule.next_due_s()) is not None:
                await self._ask(number, due_s)

        await self._all_clients(client)

    async def _open_loop(self, schedule: Schedule) -> None:
        """Hand out requests when they are due, to whichever client is free; a late one keeps its due time."""
        due: asyncio.Queue[float | None] = asyncio.Queue()  # bounded: the plan limits the number of requests

        async def client(number: int) -> None:
            while (due_s := await due.get()) is not None:
                await self._ask(number, due_s)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._all_clients(client))
            while (due_s := await schedule.next_due_s()) is not None:
                self._generator_lag_s = max(self._generator_lag_s, clock() - due_s)
                due.put_nowait(due_s)
            for _ in self._connections:
                due.put_nowait(None)

    async def _all_clients(self, client: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(self._connections)):
                tasks.create_task(client(number))

    async def _ask(self, number: int, due_s: float) -> None:
        """Send one request and note what came of it."""
        sent_s = clock()
        try:
            connection = await self._connected(number)
            outcome: int | str = await connection.ask(self._next_request(), self._plan["timeout_s"])
        except ConnectionRefusedError:
            outcome = "refused"
        except TimeoutError:
            outcome = "timeout"
        except OSError:
            outcome = "reset"
        except ValueError:
            outcome = "not HTTP"
        self._rows.append((due_s, sent_s, clock(), outcome))

    def _next_request(self) -> bytes:
        if len(self._pieces) == 1:
            return self._pieces[0]
        self._asked += 1
        return (b"%010d" % self._asked).join(self._pieces)

    async def _connected(self, number: int) -> Connection:
        """Return the client's connection; one that was lost is opened again."""
        connection = self._connections[number]
        if connection is None or not connection.is_open:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(self._plan["timeout_s"]):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._plan["head_only"]), self._plan["host"], self._plan["port"]
                )
            self._connections[number] = connection
        return connection

    def answer(self, started_s: float) -> dict[str, Any]:
        """Return the measurements as JSON values, times in microseconds since the start of the run."""
        rows = [
            (*(round((moment_s - started_s) * 1_000_000) for moment_s in (due_s, sent_s, done_s)), outcome)
            for due_s, sent_s, done_s, outcome in self._rows
        ]
        return {"rows": rows, "ended_by": self._ended_by, "generator_lag_s": self._generator_lag_s}


async def generate(plans: list[dict[str, Any]]) -> dict[str, Any]:
    """Run all workloads side by side, after all of them are warm."""
    runs = [Run(plan) for plan in plans]
    for run in runs:
        await run.warm_up()
    started_s = clock()
    async with asyncio.TaskGroup() as tasks:
        for run in runs:
            tasks.create_task(run.measure(started_s))
    return {"started_monotonic_s": started_s, "runs": [run.answer(started_s) for run in runs]}


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return uvloop where it is installed (it has no Windows build), else the standard loop."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    """Read the plans, run them, write the measurements."""
    plans = json.load(sys.stdin)
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        measurements = runner.run(generate(plans))
    json.dump(measurements, sys.stdout)


if __name__ == "__main__":
    main()
