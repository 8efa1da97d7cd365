"""`python -m reference_app --workers 2`: metrics of all, one sentence for what is wrong, a graceful end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import httpx
import psutil
import pytest
import uvicorn
from deskbook.desk.database import TOKEN_SECRET, desk_template
from deskbook.services import fresh_database, fresh_redis

import reference_app.__main__ as command
from reference_app.infra.watch.metrics import FOLDER, _forget_the_dead

TIMEOUT_S = 60
BODY = b'{"name": "Ada"}'
COUNT = 'http_request_duration_seconds_count{method="GET",route="/v1/instruments/{symbol}",status="200"}'


@dataclass
class Service:
    """A supervisor and its two workers."""

    process: asyncio.subprocess.Process
    url: str
    settings: dict[str, str]

    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    async def line(self, pattern: str) -> str:
        """Read the log up to the first line with the pattern, and return what matched."""
        assert self.process.stderr is not None
        async with asyncio.timeout(TIMEOUT_S):
            async for line in self.process.stderr:
                if found := re.search(pattern, line.decode()):
                    return found[0]
        raise AssertionError(f"the server ended and never said {pattern}")


class Line:
    """A connection to one worker, kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, method: str, path: str, body: bytes = b"", part: int | None = None) -> None:
        """Write a request; a part of the body: as many bytes, and the worker waits for the rest."""
        head = f"{method} {path} HTTP/1.1\r\nHost: desk\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body[:part])

    async def reply(self) -> str:
        async with asyncio.timeout(TIMEOUT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"content-length: ([0-9]+)", head, re.IGNORECASE)
            assert length is not None, head
            return head + (await self.reader.readexactly(int(length[1]))).decode()

    async def get(self, path: str) -> str:
        self.send("GET", path)
        return await self.reply()

    def worker(self, service: Service) -> int:
        """Return the process that holds the other end."""
        own = self.writer.get_extra_info("sockname")[1]
        for worker in service.workers():
            for connection in worker.net_connections("tcp4"):
                if connection.raddr and connection.raddr.port == own:
                    return int(worker.pid)
        return 0


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        settings = {
            "DATABASE_URL": await stack.enter_async_context(fresh_database(desk_template())),
            "REDIS_URL": await stack.enter_async_context(fresh_redis()),
            "DESK_TOKEN_SECRET": TOKEN_SECRET,
            "DESK_SHUTDOWN_NOTICE_S": "0",
            "PYTHONUNBUFFERED": "1",
            FOLDER: stack.enter_context(tempfile.TemporaryDirectory()),
        }
        process = await start(settings)
        service = Service(process, "", settings)
        try:
            service.url = await service.line(r"http://127[0-9.]+:[1-9][0-9]*")
            for _ in range(2):
                await service.line("Application startup complete")
            yield service
        finally:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(TIMEOUT_S):
                    await process.communicate()


async def start(settings: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reference_app", "--port", "0", "--workers", "2"),
        env=os.environ | settings,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


async def lines_to_both(service: Service, stack: AsyncExitStack) -> tuple[Line, Line]:
    """Return a connection to each worker."""
    found: dict[int, Line] = {}
    port = int(service.url.rsplit(":", 1)[1])
    async with asyncio.timeout(TIMEOUT_S):
        while len(found) < 2:
            line = Line(*await asyncio.open_connection("127.0.0.1", port))
            stack.callback(line.writer.close)
            await line.get("/health/live")  # so it is accepted
            if found.setdefault(line.worker(service), line) is not line:
                line.writer.close()
    assert set(found) == {worker.pid for worker in service.workers()}
    one, other = found.values()
    return one, other


async def test_operations_tell_the_metrics_of_all_and_forget_what_a_killed_one_was_at(
    service: Service,
) -> None:
    async with AsyncExitStack() as stack:
        operators = await stack.enter_async_context(operations(service))
        one, other = await lines_to_both(service, stack)
        for _ in range(3):
            await one.get("/v1/instruments/IBM")
        for _ in range(5):
            await other.get("/v1/instruments/IBM")
        await until(operators, f"{COUNT} 8.0")  # a request is counted after its reply
        other.send("POST", "/v1/accounts", BODY, part=5)
        await until(operators, "http_requests_running 1.0")
        dying = psutil.Process(other.worker(service))
        dying.kill()
        await asyncio.to_thread(dying.wait, TIMEOUT_S)
        text = await until(operators, "http_requests_running 0.0")
        assert f"{COUNT} 8.0" in text  # what the dead one has counted stays
        for figure in ("database_up 1.0", "orders_hanging 0.0", "outbox_lag_seconds 0.0"):
            assert figure in text
        assert (await one.get("/metrics")).startswith("HTTP/1.1 404"), "it is for operators, on their port"
    await service.line("Application startup complete")  # its successor


@asynccontextmanager
async def operations(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Run the process that operators ask, and give a client of its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reference_app.operations"),
        env=os.environ | service.settings | {"DESK_OPERATIONS_PORT": "0"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        url = await Service(process, "", {}).line(r"http://127[0-9.]+:[1-9][0-9]*")
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
            yield client
    finally:
        process.terminate()
        async with asyncio.timeout(TIMEOUT_S):
            _, log = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in log


async def until(operators: httpx.AsyncClient, figure: str) -> str:
    """Ask for the metrics until they have this figure."""
    async with asyncio.timeout(TIMEOUT_S):
        while figure not in (text := (await operators.get("/metrics")).text):
            pass
    return text


async def test_a_request_under_way_at_each_worker_is_finished(service: Service) -> None:
    async with AsyncExitStack() as stack:
        operators = await stack.enter_async_context(operations(service))
        lines = await lines_to_both(service, stack)
        for line in lines:
            line.send("POST", "/v1/accounts", BODY, part=5)
        await until(operators, "http_requests_running 2.0")
        service.process.send_signal(signal.SIGTERM)
        for _ in lines:
            await service.line("Shutting down")
        for line in lines:
            line.writer.write(BODY[5:])
        for line in lines:
            reply = await line.reply()
            assert reply.startswith("HTTP/1.1 401"), reply  # no token: answered in full, and by the app
        assert service.process.stderr is not None
        async with asyncio.timeout(TIMEOUT_S):
            log = (await service.process.stderr.read()).decode()
            await service.process.wait()
    assert log.count("Application shutdown complete") == 2
    assert "Traceback" not in log


async def test_what_is_wrong_is_one_sentence_and_no_worker_is_started() -> None:
    wrong = {"DATABASE_URL": "postgresql://ada:hunter2@h/d", "DESK_RATE_LIMIT": "none"}
    process = await start(wrong | {"DESK_TOKEN_SECRET": TOKEN_SECRET})
    async with asyncio.timeout(TIMEOUT_S):
        _, said = await process.communicate()
    assert process.returncode == 1
    (line,) = said.decode().splitlines()
    assert line.startswith("reference_app: DESK_RATE_LIMIT is not valid")
    assert "hunter2" not in line


def test_what_looks_like_a_worker_but_is_of_another_user_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def kill(pid: int, number: int) -> None:
        if pid == 17:
            raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    for name in ("gauge_livesum_17.db", "gauge_livesum_18.db", "histogram_17.db"):
        (tmp_path / name).write_bytes(b"")
    _forget_the_dead(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"gauge_livesum_18.db", "histogram_17.db"}


def test_idle_connections_outlive_those_of_a_balancer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setenv(FOLDER, str(tmp_path))  # else it would stay set for the tests after this one
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/desk")
    monkeypatch.setenv("DESK_TOKEN_SECRET", TOKEN_SECRET)
    monkeypatch.setattr(command, "preflight", AsyncMock())
    monkeypatch.setattr(uvicorn, "run", lambda *_, **options: started.append(options))
    for count in ("1", "2"):
        monkeypatch.setattr(sys, "argv", ["reference_app", f"--workers={count}"])
        command.main()
    assert [options["timeout_keep_alive"] for options in started] == [75, 75]


@pytest.mark.parametrize("count", ["0", "65", "many", "-1"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(
    count: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[int] = []
    monkeypatch.setattr(uvicorn, "run", lambda *_, **__: started.append(1))
    monkeypatch.setattr(sys, "argv", ["reference_app", f"--workers={count}"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2
    assert "expected a number of processes, 1 to 64" in capsys.readouterr().err
    assert not started
