"""The load generator reports what a server with known behaviour did to it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psutil
import pytest
from deskbook.load import LoadError, LoadResult, Workload, load, load_together
from deskbook.load.result import RequestTimes

Answer = Callable[[int, str], Awaitable[bytes]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_percentiles_are_latencies_that_were_measured() -> None:
    latencies = [0.001 * number for number in range(1, 1001)]
    times = [RequestTimes(5.0, 5.0, 5.0 + latency, 200) for latency in reversed(latencies)]
    result = LoadResult("GET /", times, "requests", 0.0)
    expected = {0: 0, 0.1: 0, 0.11: 1, 50: 499, 99: 989, 99.9: 998, 99.91: 999, 100: 999}
    for percentile, index in expected.items():
        assert result.percentile_s(percentile) == pytest.approx(latencies[index], abs=1e-9), percentile
    alone = LoadResult("GET /", times[:1], "requests", 0.0)
    assert {alone.percentile_s(percentile) for percentile in (0, 50, 100)} == {alone.latencies_s[0]}


@pytest.mark.parametrize("percentile", [-1, 100.1, float("nan")])
def test_a_percentile_that_is_none_is_refused(percentile: float) -> None:
    result = LoadResult("GET /", [RequestTimes(0, 0, 1, 200)], "requests", 0.0)
    with pytest.raises(LoadError, match="between 0 and 100"):
        result.percentile_s(percentile)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """A server on this loop: `answer(number of the request, its first line)` gives the bytes to send."""
    numbers = iter(range(10**9))
    writers: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                length = next(
                    (int(line[15:]) for line in head.splitlines() if line.startswith("Content-Length")), 0
                )
                await reader.readexactly(length)
                writer.write(await answer(next(numbers), head.splitlines()[0]))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


async def at_once(number: int, line: str) -> bytes:
    return OK


async def test_known_delays_are_reported() -> None:
    async def answer(number: int, line: str) -> bytes:
        await asyncio.sleep(0.2 if "slow" in line else 0.02)
        return OK

    async with serving(answer) as url:
        quick, slow = await load_together(
            Workload(url=f"{url}/quick", clients=2, requests=40),
            Workload(url=f"{url}/slow", clients=2, requests=10),
        )
    assert 0.02 <= quick.percentile_s(0) <= quick.percentile_s(50) < 0.1
    assert 0.2 <= slow.percentile_s(0) <= slow.percentile_s(50) < 0.3
    assert quick.requests == 40
    assert slow.requests == 10
    # Two clients that wait 20 ms each cannot get more than 100 answers a second out of the server.
    assert quick.rate_per_s <= 100


async def stall_once(number: int, line: str) -> bytes:
    if number == 50:
        time.sleep(0.5)  # noqa: ASYNC251 - the stall of the whole server is what is tested
    return OK


async def test_a_closed_loop_hides_a_stall_that_an_open_loop_shows() -> None:
    async with serving(stall_once) as url:
        closed = await load(url, clients=1, requests=200)
    async with serving(stall_once) as url:
        open_ = await load(url, rate_per_s=200, seconds=1, clients=4)
    assert repr(closed) == repr(open_) == "<GET /: 200 answered 200; no errors>"
    assert closed.percentile_s(100) >= 0.5
    # One request of 200 met the stall; those that would have come meanwhile were never sent.
    assert closed.percentile_s(99) < 0.1
    # 100 of 200 requests were due during the stall and waited for what was left of it.
    assert open_.percentile_s(99) > 0.45
    assert open_.percentile_s(75) > 0.15


async def test_a_late_request_counts_from_the_moment_it_was_due() -> None:
    """One connection and answers of 50 ms cannot follow 100 requests a second: each is later."""

    async def answer(number: int, line: str) -> bytes:
        await asyncio.sleep(0.05)
        return OK

    async with serving(answer) as url:
        result = await load(url, rate_per_s=100, requests=10, clients=1)
    latencies = [times.latency_s for times in result.timeline]
    assert latencies == sorted(latencies)
    assert latencies[-1] >= 10 * 0.05 - 9 * 0.01
    assert [times.due_s - result.timeline[0].due_s for times in result.timeline] == pytest.approx(
        [number / 100 for number in range(10)], abs=1e-4
    )


async def test_statuses_and_errors_are_counted_by_kind() -> None:
    async def answer(number: int, line: str) -> bytes:
        if "hang" in line:
            await asyncio.Event().wait()
        return {
            "/missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "/noise": b"good day\r\n\r\n",
            "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\ncut",
            "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "/early": b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
        }[line.split()[1]]

    async with serving(answer) as url:
        missing, noise, cut, chunks, early, hang = await load_together(
            *(
                Workload(url=f"{url}/{path}", clients=1, requests=3, timeout_s=0.3)
                for path in ("missing", "noise", "cut", "chunks", "early", "hang")
            )
        )
    assert repr(missing) == "<GET /missing: 3 answered 404; no errors>"
    assert repr(noise) == "<GET /noise: no answer; 3 not HTTP>"
    assert repr(chunks) == "<GET /chunks: 3 answered 200; no errors>"
    assert repr(early) == "<GET /early: 3 answered 200; no errors>"
    assert cut.errors == {"timeout": 3}
    assert hang.errors == {"timeout": 3}
    # Leaving out the slowest would flatter: a request that timed out waited at least that long.
    assert hang.percentile_s(50) >= 0.3


async def test_a_connection_that_the_server_closes_is_an_error_and_the_run_goes_on() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await load(f"http://127.0.0.1:{port}", clients=1, requests=6)
    assert (result.statuses, result.errors) == ({200: 3}, {"reset": 3})


async def test_warm_up_requests_are_sent_and_not_counted() -> None:
    seen: list[int] = []

    async def answer(number: int, line: str) -> bytes:
        seen.append(number)
        await asyncio.sleep(0.2 if number < 4 else 0)
        return OK

    async with serving(answer) as url:
        result = await load(url, clients=4, requests=20, warm_up_requests=4)
    assert len(seen) == 24
    assert result.requests == 20
    assert result.percentile_s(100) < 0.2


async def test_the_time_limit_ends_a_closed_loop_and_the_repr_names_no_number() -> None:
    async with serving(at_once) as url:
        result = await load(f"{url}/quotes?since=0", clients=2, seconds=0.3, requests=10**6)
    assert result.ended_by == "seconds"
    assert repr(result) == "<GET /quotes: all answered 200, ended by the time limit; no errors>"
    assert 0.25 <= result.duration_s < 1.5


async def test_start_after_s_delays_one_workload_of_two() -> None:
    async with serving(at_once) as url:
        first, second = await load_together(
            Workload(url=url, rate_per_s=100, seconds=0.3),
            Workload(url=url, clients=1, requests=1, start_after_s=0.2),
        )
    assert second.timeline[0].due_s - min(times.due_s for times in first.timeline) == pytest.approx(
        0.2, abs=0.1
    )


async def test_method_headers_and_body_arrive() -> None:
    lines: list[str] = []

    async def answer(number: int, line: str) -> bytes:
        lines.append(line)
        return OK

    async with serving(answer) as url:
        posted, head = await load_together(
            Workload(
                url=f"{url}/orders?dry=1", method="POST", body=b'{"side": "buy"}', clients=1, requests=2
            ),
            Workload(url=f"{url}/quotes", method="HEAD", clients=1, requests=2),
        )
    assert sorted(lines) == ["HEAD /quotes HTTP/1.1"] * 2 + ["POST /orders?dry=1 HTTP/1.1"] * 2
    assert posted.statuses == head.statuses == {200: 2}


async def test_each_request_can_have_a_number_of_its_own() -> None:
    lines: list[str] = []

    async def answer(number: int, line: str) -> bytes:
        lines.append(line)
        return OK

    async with serving(answer) as url:
        await load(f"{url}/orders/{{{{number}}}}", clients=3, requests=20, warm_up_requests=5)
    assert sorted(lines) == [f"GET /orders/{number:010} HTTP/1.1" for number in range(1, 26)]


async def test_nothing_listening_is_one_clear_sentence() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(LoadError, match=f"Nothing listens at {url}: all 5 connections were refused"):
            await load(url, requests=5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"url": "https://desk.test"}, "plain HTTP"),
        ({"url": "/quotes"}, "must begin with http://"),
        ({"requests": 0}, "requests must be above 0"),
        ({"clients": 0}, "connections must be above 0"),
        ({"rate_per_s": -1}, "rate_per_s must be above 0"),
        ({"warm_up_requests": -1}, "must not be negative"),
    ],
)
def test_a_workload_without_sense_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(LoadError, match=sentence):
        Workload(**{"url": "http://127.0.0.1:1", **options})  # type: ignore[arg-type]


async def test_a_header_cannot_smuggle_a_second_request() -> None:
    with pytest.raises(LoadError, match="line break"):
        await load("http://127.0.0.1:1", headers={"X-Note": "a\r\n\r\nGET /admin HTTP/1.1"})


async def test_a_cancelled_run_leaves_no_generator_behind() -> None:
    asked = asyncio.Event()

    async def answer(number: int, line: str) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return OK

    async with serving(answer) as url:
        run = asyncio.create_task(load(url, clients=1, requests=1, timeout_s=600))
        await asyncio.wait_for(asked.wait(), 20)
        generators = [
            child for child in psutil.Process().children() if "generator.py" in " ".join(child.cmdline())
        ]
        assert len(generators) == 1
        run.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError):
                await run
    assert not generators[0].is_running()


SCRIPT = """
import asyncio, sys
from deskbook.load import load
print(asyncio.run(load(sys.argv[1], requests=30, clients=2)))
"""


async def test_a_script_uses_it_with_asyncio_run() -> None:
    async with serving(at_once) as url:
        script = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SCRIPT, url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, log = await asyncio.wait_for(script.communicate(), 30)
    assert (out.decode(), log.decode()) == ("<GET /: 30 answered 200; no errors>\n", "")


async def test_a_generator_that_dies_is_one_clear_sentence() -> None:
    async def answer(number: int, line: str) -> bytes:
        for child in psutil.Process().children():
            if "generator.py" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
        return OK

    async with serving(answer) as url:
        with pytest.raises(LoadError, match="failed with exit code -9: it said nothing"):
            await load(url, requests=5)


async def test_a_connection_is_not_used_again_after_a_500_as_servers_close_it() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await load(f"http://127.0.0.1:{port}", clients=2, requests=40)
    assert repr(result) == "<GET /: 40 answered 500; no errors>"
