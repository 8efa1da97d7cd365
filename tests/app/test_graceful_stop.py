"""A real server that is told to stop: readiness says no first, and what is under way is finished."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from deskbook.desk.database import TOKEN_SECRET, desk_template
from deskbook.services import fresh_database, fresh_redis

from reference_app.infra.watch.metrics import exposition

TIMEOUT_S = 60


async def said(process: asyncio.subprocess.Process, pattern: str) -> str:
    """Read the log up to the first line with the pattern, and return what matched."""
    assert process.stderr is not None
    async with asyncio.timeout(TIMEOUT_S):
        async for line in process.stderr:
            if found := re.search(pattern, line.decode()):
                return found[0]
    raise AssertionError(f"the server ended and never said {pattern}")


@asynccontextmanager
async def server(**settings: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Start `python -m reference_app`, and give it with its address."""
    async with fresh_database(desk_template()) as database_url, fresh_redis() as redis_url:
        urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "DESK_TOKEN_SECRET": TOKEN_SECRET}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reference_app", "--port", "0"),
            env=os.environ | urls | settings | {"PYTHONUNBUFFERED": "1"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stderr is not None
            async with asyncio.timeout(TIMEOUT_S):
                while not (
                    found := re.search(
                        rb"http://127[0-9.]+:[1-9][0-9]*", line := await process.stderr.readline()
                    )
                ):
                    assert line, "the server ended before it ran"
            yield process, found[0].decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_readiness_says_no_first_and_requests_are_served_until_the_notice_is_over() -> None:
    async with server(DESK_SHUTDOWN_NOTICE_S="2") as (process, url):
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
            assert (await client.get("/health/ready")).status_code == 200
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(TIMEOUT_S):
                ready = await client.get("/health/ready")
                while ready.status_code == 200:  # each asks anew: the server is told by a signal
                    ready = await client.get("/health/ready")
            assert (ready.status_code, ready.headers["connection"]) == (503, "close")
            # Alive, and serving those whom the balancer still sends.
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/v1/instruments/AAPL")).status_code == 200
        assert process.stderr is not None
        async with asyncio.timeout(TIMEOUT_S):
            log = (await process.stderr.read()).decode()
            await process.wait()
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


async def test_a_request_under_way_is_finished(tmp_path: Path) -> None:
    async with server(DESK_SHUTDOWN_NOTICE_S="0", PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as (process, url):
        port = int(url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"name": "Ada"}'
        # Half of a request: the server has begun with it, and cannot end it before the rest comes.
        writer.write(
            b"POST /v1/accounts HTTP/1.1\r\nHost: desk\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body[:5]
        )
        await writer.drain()
        async with asyncio.timeout(TIMEOUT_S):
            while b"http_requests_running 1.0" not in exposition(tmp_path):  # noqa: ASYNC110 - it is a file
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        await said(process, "Shutting down")
        async with asyncio.timeout(TIMEOUT_S):
            writer.write(body[5:])
            reply = await reader.read()
            await process.wait()
        writer.close()
    assert reply.startswith(b"HTTP/1.1 401"), reply  # no token: answered in full, and by the app
    assert b"/problems/" in reply
