"""A served app is ready when the block begins; nothing of it is left after, however block or kernel end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest
from deskbook.module_cells import module_folder, write_module
from deskbook.processes.forked_process import ForkServerError
from deskbook.serving import ServingError, served_app, serving_app
from deskbook.serving.served_app import SERVER_PROCESS

APP = """
import asyncio, json, os, subprocess, sys, time

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if os.environ.get("BREAK"):
            await send({"type": "lifespan.startup.failed", "message": "the price feed is closed"})
            return
        if os.environ.get("NEVER_READY"):
            print("waiting for the feed", flush=True)
            await asyncio.Event().wait()
        print("lifespan is up", flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    answer = {"pid": os.getpid(), "currency": os.environ.get("CURRENCY")}
    answer["seed"] = os.environ.get("PYTHONHASHSEED")
    answer["loop"] = type(asyncio.get_running_loop()).__module__.split(".")[0]
    if scope["path"] == "/block":
        print("blocking", flush=True)
        time.sleep(600)
    if scope["path"] == "/child":
        answer["child"] = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid
    body = json.dumps(answer).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

def make_app():
    return app
"""


@pytest.fixture(scope="module", autouse=True)
def _app() -> None:
    write_module("served_test_app", APP)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before
    # The fork server stays as long as this process; what it has forked shows the same command line.
    assert not [process for process in left if is_server(process) and not is_fork_server(process)]


@pytest.fixture
def log_of_starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which servers are forked."""
    starts: list[str] = []
    start = served_app._fork_server.start

    def noted(*arguments: Any, **options: Any) -> Any:
        starts.append("fork")
        return start(*arguments, **options)

    monkeypatch.setattr(served_app._fork_server, "start", noted)
    return starts


def is_server(process: psutil.Process) -> bool:
    try:
        return SERVER_PROCESS in " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return False


def is_fork_server(process: psutil.Process) -> bool:
    return (
        is_server(process)
        and process.ppid() == os.getpid()
        and "deskbook.processes.fork_child" in process.cmdline()
    )


async def about(url: str, path: str = "/about") -> dict[str, Any]:
    async with httpx.AsyncClient() as client:
        return dict((await client.get(url + path, timeout=10)).json())


def workers_of(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def gone(pids: list[int], within_s: float = 15) -> bool:
    """Say whether the processes end in time; they are no children of this one, or reaped by now."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    _, alive = psutil.wait_procs(processes, within_s)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def kill_and_wait(pid: int) -> None:
    """Kill a server and wait for its end."""
    os.kill(pid, signal.SIGKILL)
    assert gone([pid])


async def until(condition: Callable[[], object], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.01)


async def test_the_app_answers_in_the_block_and_is_gone_after() -> None:
    async with serving_app("served_test_app:app") as desk:
        assert (await about(desk.url))["pid"] == desk.pid
        assert "lifespan is up" in desk.log()
    assert not psutil.pid_exists(desk.pid)
    with pytest.raises(httpx.ConnectError):
        await about(desk.url)
    assert "Finished server process" in desk.log()


async def test_it_can_stay_open_from_cell_to_cell() -> None:
    desk = await serving_app("served_test_app:make_app").start()
    with pytest.raises(ServingError, match="being served already"):
        await desk.start()
    assert (await about(desk.url))["pid"] == desk.pid
    await desk.stop()
    await desk.stop()
    assert not psutil.pid_exists(desk.pid)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_loop_and_settings_reach_the_server(loop: str) -> None:
    async with serving_app("served_test_app:app", loop=loop, settings={"CURRENCY": "EUR"}) as desk:
        answer = await about(desk.url)
    assert (answer["loop"], answer["currency"]) == (loop, "EUR")


async def test_a_setting_that_only_a_fresh_interpreter_reads_gets_one(log_of_starts: list[str]) -> None:
    async with serving_app("served_test_app:app") as desk:
        forked = await about(desk.url)
    async with serving_app("served_test_app:app", settings={"PYTHONHASHSEED": "7"}) as desk:
        fresh = await about(desk.url)
        assert psutil.Process(desk.pid).ppid() == os.getpid()
    assert log_of_starts == ["fork"]
    assert (forked["seed"], fresh["seed"]) == (os.environ.get("PYTHONHASHSEED"), "7")


async def test_without_a_fork_server_it_is_a_fresh_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise ForkServerError

    monkeypatch.setattr(served_app._fork_server, "start", start)
    async with serving_app("served_test_app:app") as desk:
        assert (await about(desk.url))["pid"] == desk.pid
        assert psutil.Process(desk.pid).ppid() == os.getpid()


async def test_several_workers_are_all_up_and_all_end() -> None:
    async with serving_app("served_test_app:app", workers=2) as desk:
        workers = workers_of(desk.pid)
        assert desk.log().count("lifespan is up") == 2
        assert (await about(desk.url))["pid"] in workers
    assert gone([desk.pid, *workers])


async def test_a_taken_port_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServingError, match=f"^Port {port} is taken by another program. Leave `port` out"):
            await serving_app("served_test_app:app", port=port).start()


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_app_that_fails_at_startup_shows_the_end_of_its_log(workers: int) -> None:
    desk = serving_app("served_test_app:app", workers=workers, settings={"BREAK": "1"})
    with pytest.raises(ServingError, match="did not start") as failed:
        await desk.start()
    assert "the price feed is closed" in str(failed.value)


async def test_an_app_that_does_not_exist_is_named() -> None:
    with pytest.raises(ServingError, match='Could not import module "no_such_desk"'):
        await serving_app("no_such_desk:app").start()


async def test_a_blocked_loop_cannot_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_app, "GRACE_S", 0)
    async with serving_app("served_test_app:app") as desk:
        host, port = desk.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /block HTTP/1.1\r\nHost: desk\r\n\r\n")
        await until(lambda: "blocking" in desk.log())
    writer.close()
    assert not psutil.pid_exists(desk.pid)


async def test_a_server_that_ends_by_itself_is_reported_at_the_end_of_the_block() -> None:
    desk = await serving_app("served_test_app:app").start()
    kill_and_wait(desk.pid)
    with pytest.raises(ServingError, match="ended by itself, with exit code -9") as failed:
        await desk.stop()
    assert "Started server process" in str(failed.value)


async def test_an_error_of_the_block_is_not_hidden_by_the_end_of_the_server() -> None:
    async def block() -> None:
        async with serving_app("served_test_app:app") as desk:
            kill_and_wait(desk.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as failed:
        await block()
    assert "exit code -9" in failed.value.__notes__[0]


async def test_kill_is_a_crash_that_was_asked_for_and_takes_along_what_the_app_has_started() -> None:
    async with serving_app("served_test_app:app") as desk:
        child = (await about(desk.url, "/child"))["child"]
        desk.kill()
        assert gone([child])


async def test_what_the_app_has_started_ends_with_the_block() -> None:
    async with serving_app("served_test_app:app") as desk:
        child = (await about(desk.url, "/child"))["child"]
        assert psutil.pid_exists(child)
    assert gone([child])


async def test_workers_end_when_their_supervisor_is_killed() -> None:
    async with serving_app("served_test_app:app", workers=2) as desk:
        workers = workers_of(desk.pid)
        kill_and_wait(desk.pid)
        assert gone(workers)
        desk.kill()  # says that this end was asked for


async def test_a_cancelled_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_app, "GRACE_S", 0)
    desk = serving_app("served_test_app:app", settings={"NEVER_READY": "1"})
    start = asyncio.create_task(desk.start())
    await until(lambda: "waiting for the feed" in desk.log())
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert desk.url == ""


KERNEL = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from deskbook.module_cells import write_module
from deskbook.serving import serving_app
with open(sys.argv[1] + "/served_test_app.py") as source:
    write_module("kernel_app", source.read())
async def main():
    async with serving_app("kernel_app:app", workers=int(sys.argv[2])) as desk:
        print(desk.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_the_server_ends_when_the_kernel_is_killed(workers: int) -> None:
    command = [sys.executable, "-c", KERNEL, str(module_folder()), str(workers)]
    kernel = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True)
    assert kernel.stdout is not None
    pid = int(kernel.stdout.readline())
    family = [pid, *workers_of(pid)]
    assert len(family) >= workers
    # The interrupt of a cell goes to the process group of the kernel. The server is not in it.
    assert os.getpgid(pid) != os.getpgid(kernel.pid)
    kernel.kill()
    kernel.wait()
    kernel.stdout.close()
    assert gone(family)


async def test_the_reference_app_gets_a_database_with_real_prices() -> None:
    async with serving_app() as desk, httpx.AsyncClient(base_url=desk.url) as client:
        quote = await client.get("/v1/instruments/AAPL/quote")
    assert quote.status_code == 200
    assert quote.json()["symbol"] == "AAPL"
