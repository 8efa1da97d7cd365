"""Starting and stopping: one clear sentence for what is wrong, and a clean end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from deskbook.desk import RunningApp, running_app
from deskbook.services import fresh_database

import reference_app.__main__
import reference_app.data.load
import reference_app.infra.migrate
from reference_app.infra.database.startup import StartupError

TIMEOUT_S = 60

COMMANDS = [reference_app.__main__.main, reference_app.infra.migrate.main, reference_app.data.load.main]
each_command = pytest.mark.parametrize("main", COMMANDS, ids=lambda main: main.__module__)
Main = Callable[[], None]


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["command"])
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DESK_TOKEN_SECRET", "32 bytes or more, as HS256 needs")
    monkeypatch.setenv("DESK_SHUTDOWN_NOTICE_S", "0")
    # A command that wrongly accepts would serve for ever.
    monkeypatch.setattr(uvicorn, "run", lambda *_, **__: pytest.fail("it started"))


def sentence_of(main: Main) -> str:
    """Run a command that must end with one sentence (SystemExit with a text: exit code 1)."""
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, str)
    assert "hunter2" not in end.value.code
    assert "\n" not in end.value.code
    return end.value.code


@contextmanager
def closed_port() -> Iterator[int]:
    """Give a port that nobody listens on, kept from others."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@each_command
def test_without_a_database_url_each_command_says_what_to_set(main: Main) -> None:
    assert "DATABASE_URL is not set" in sentence_of(main)


@each_command
def test_a_server_that_is_not_there_is_one_sentence(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as port:
        monkeypatch.setenv("DATABASE_URL", f"postgresql://ada:hunter2@127.0.0.1:{port}/desk")
        sentence = sentence_of(main)
    assert f"127.0.0.1:{port}/desk cannot be used" in sentence
    assert "Check DATABASE_URL" in sentence


@each_command
def test_a_server_that_accepts_and_says_nothing_is_one_sentence(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("DATABASE_URL", f"postgresql://ada:hunter2@127.0.0.1:{port}/desk")
        monkeypatch.setenv("DESK_DATABASE_CONNECT_TIMEOUT_S", "0.1")
        assert f"127.0.0.1:{port}/desk did not answer in time" in sentence_of(main)


@each_command
def test_a_database_that_is_not_there_is_one_sentence(
    main: Main, desk: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", desk.database_url.rsplit("/", 1)[0] + "/nowhere")
    assert '"nowhere" does not exist' in sentence_of(main)


def test_a_database_without_migrations_is_one_sentence_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fresh_database() as url:
        monkeypatch.setenv("DATABASE_URL", url)
        for main in (reference_app.__main__.main, reference_app.data.load.main):
            sentence = sentence_of(main)
            assert "is at revision none" in sentence
            assert "Run: python -m reference_app.infra.migrate" in sentence


def test_a_wrong_setting_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada:hunter2@h/d")
    monkeypatch.setenv("DESK_DATABASE_POOL_SIZE", "many")
    assert "DESK_DATABASE_POOL_SIZE is not valid" in sentence_of(reference_app.__main__.main)


def test_without_a_secret_for_tokens_the_service_says_how_to_make_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("DESK_TOKEN_SECRET", "hunter2")
    assert "DESK_TOKEN_SECRET is not valid: it has fewer than 32 bytes" in sentence_of(
        reference_app.__main__.main
    )
    monkeypatch.delenv("DESK_TOKEN_SECRET")
    assert "DESK_TOKEN_SECRET is not set: make one with: python -c" in sentence_of(
        reference_app.__main__.main
    )


async def test_inside_a_process_the_same_is_an_exception_of_one_sentence() -> None:
    with closed_port() as port:
        url = f"postgresql://ada:hunter2@127.0.0.1:{port}/desk"
        with pytest.raises(StartupError, match=f"The database 127.0.0.1:{port}/desk cannot be used") as error:
            async with running_app(database_url=url, database_start_wait_s=0):
                pass
    assert "hunter2" not in str(error.value)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", *arguments]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


@contextmanager
def serving(
    *arguments: str, heard: list[str] | None = None, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server on a free port, and give it with its address when it has said that it runs.

    What it has said until then is added to `heard`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments, "--port", "0"],
        env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = None
        for line in process.stdout:
            if heard is not None:
                heard.append(line.strip())
            address = address or re.search(r"http://127\.0\.0\.1:[1-9][0-9]*", line)
            if address and ("Application startup complete" in line or "running on" in line):
                break
        assert address is not None, "the server ended before it ran"
        yield process, address[0]
    finally:
        process.kill()
        process.communicate()


def test_from_an_empty_database_to_a_running_service_and_a_clean_end() -> None:
    with fresh_database() as url:
        assert run("reference_app.infra.migrate", DATABASE_URL=url).returncode == 0
        loaded = run("reference_app.data.load", DATABASE_URL=url)
        assert loaded.stdout == "12154 candles were new or corrected.\n", loaded.stderr
        with serving("reference_app", DATABASE_URL=url) as (process, address):
            quote = httpx.get(f"{address}/v1/instruments/AAPL/quote", timeout=10)
            assert quote.json()["price"] == "430.4700"
            process.send_signal(signal.SIGTERM)
            log, _ = process.communicate(timeout=TIMEOUT_S)
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.prove)])
def test_deskbook_serve_shows_the_docs_and_ends_cleanly(name: str) -> None:
    with serving("deskbook", "serve") as (process, address):
        assert httpx.get(f"{address}/docs", timeout=10).status_code == 200
        process.send_signal(getattr(signal, name))
        log, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, log
    assert log.splitlines()[-1] == "Stopped; its database is gone."
    assert "Traceback" not in log


def test_serve_starts_the_matcher_and_the_relay_and_they_end_with_it() -> None:
    heard: list[str] = []
    with serving("deskbook", "serve", heard=heard) as (process, _):
        assert process.stdout is not None
        missing = {"INFO matcher: started", "INFO outbox_relay: started"}.difference(heard)
        lines = iter(process.stdout)
        while missing:
            missing.discard(next(lines).strip())
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=TIMEOUT_S)
    assert "INFO matcher: stopped" in log
    assert "INFO outbox_relay: stopped" in log
    assert log.splitlines()[-1] == "Stopped; its database is gone."


@pytest.mark.parametrize("name", ["matcher", "outbox_relay"])
def test_the_other_processes_say_in_one_sentence_what_is_missing(name: str, desk: RunningApp) -> None:
    environment = {"DATABASE_URL": "postgresql://ada:hunter2@127.0.0.1:1/desk"}
    result = run(f"reference_app.orders.{name}", **environment)
    assert result.returncode == 1
    assert result.stderr.startswith(f"{name}: The database 127.0.0.1:1/desk cannot be used")
    assert "hunter2" not in result.stderr
    if name == "outbox_relay":
        result = run(f"reference_app.orders.{name}", DATABASE_URL=desk.database_url, REDIS_URL="")
        assert "REDIS_URL" in result.stderr.splitlines()[-1]


def test_serve_says_in_one_sentence_that_a_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("deskbook", "serve", "--port", str(port))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"Error: Port {port} on 127.0.0.1 is taken: end the program that uses it, "
        "or choose another with --port."
    ]


def test_serve_says_why_an_address_cannot_be_used() -> None:
    result = run("deskbook", "serve", "--host", "192.0.2.1")
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert "Port 8000 on 192.0.2.1 cannot be used" in result.stderr
