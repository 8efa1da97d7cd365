"""SIGTERM to a real uvicorn: what runs is served to its end, the stream ends whole, and the process goes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

SERVICE = """
import asyncio, os, sys
from contextlib import asynccontextmanager
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from reference_app.patterns.graceful_drain import Drain
from reference_app.patterns.health import Health

health = Health()
drain = Drain(notice_s=float(os.environ["NOTICE_S"]), on_begin=health.close)
released = asyncio.Event()

@asynccontextmanager
async def lifespan(app):
    async with drain:
        yield
    print("lifespan has ended", flush=True)

app = FastAPI(lifespan=lifespan)
app.add_middleware(drain.middleware)
app.include_router(health.router())

async def quotes():
    yield "AAPL\\n"
    await asyncio.Event().wait()

@app.get("/quotes")
async def stream():
    return StreamingResponse(drain.until(quotes()) if "--drain" in sys.argv else quotes())

@app.get("/slow")
async def slow():
    await released.wait()
    return "done"

@app.post("/release")
async def release():
    released.set()

uvicorn.run(app, fd=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=1)
"""


@contextlib.asynccontextmanager
async def service(
    tmp_path: Path, notice_s: float, *options: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    (tmp_path / "service.py").write_text(SERVICE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = await asyncio.create_subprocess_exec(
            sys.executable, tmp_path / "service.py", str(listener.fileno()), *options,
            pass_fds=[listener.fileno()], env={"NOTICE_S": str(notice_s)}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        port = listener.getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_everything_is_served_to_its_end_and_the_process_goes(tmp_path: Path) -> None:
    async with service(tmp_path, 1.5, "--drain") as (process, client):
        async with client.stream("GET", "/quotes") as stream, asyncio.TaskGroup() as group:
            lines = stream.aiter_lines()
            assert await anext(lines) == "AAPL"
            slow = group.create_task(client.get("/slow"))
            assert (await client.get("/health/ready")).status_code == 200
            process.send_signal(signal.SIGTERM)
            for _ in range(10_000):
                reply = await client.get("/health/ready")
                if reply.status_code == 503:
                    break
            assert (reply.status_code, reply.headers["connection"]) == (503, "close")
            assert (await client.post("/release")).status_code == 200  # new requests are served all the same
            assert (await slow).json() == "done"
            assert [line async for line in lines] == []  # the stream ends, and not with an error
        out, _ = await process.communicate()
        assert out == b"lifespan has ended\n"
        assert process.returncode == -signal.SIGTERM  # uvicorn raises again what it caught


async def test_without_it_the_stream_is_cut_when_the_patience_of_the_server_ends(tmp_path: Path) -> None:
    async with service(tmp_path, 0) as (process, client), client.stream("GET", "/quotes") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "AAPL"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(lines)
