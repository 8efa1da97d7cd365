"""Servers of one's own, with settings of one's own."""

from __future__ import annotations

import asyncpg
import pytest
import redis
from deskbook.services import ServicesError, cluster, ensure


async def test_settings_are_applied_and_the_shared_servers_stay_as_they_are():
    async with cluster(postgres={"max_connections": "7"}, redis={"maxmemory": "10mb"}) as own:
        connection = await asyncpg.connect(own.postgres.url)
        assert await connection.fetchval("SHOW max_connections") == "7"
        await connection.close()
        with redis.Redis.from_url(own.redis.url, decode_responses=True) as client:
            assert client.config_get("maxmemory") == {"maxmemory": "10485760"}
        assert own.postgres.url != ensure("postgres").postgres.url


def test_nothing_is_left_after_the_block(sandbox):
    client = sandbox.start("""
from deskbook.services import cluster
with cluster(redis={}) as own:
    say(entered=True)
    sys.stdin.readline()
say(left=True)
sys.stdin.read()
""")
    client.hear()
    assert {sandbox.kind_of(" ".join(one.cmdline())) for one in sandbox.processes()} == {
        "supervisor",
        "valkey",
    }
    client.tell()
    client.hear()
    assert not sandbox.files()
    assert not sandbox.processes("valkey")
    sandbox.wait_until_gone()


def test_nothing_is_left_when_the_owner_is_killed(sandbox):
    client = sandbox.start("""
from deskbook.services import cluster
with cluster(redis={}):
    say(entered=True)
    sys.stdin.read()
""")
    client.hear()
    assert len(sandbox.processes()) == 2
    client.kill()
    sandbox.wait_until_gone()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"postgres": {"max_conections": "7"}}, "unrecognized configuration parameter"),
        ({"postgres": {"a b": "7"}}, "not the name of a PostgreSQL setting"),
        ({"redis": {"maxmemry": "7"}}, "maxmemry"),
    ],
)
def test_a_wrong_setting_is_said(settings, words):
    with pytest.raises(ServicesError, match=words), cluster(**settings):
        raise AssertionError("not reached")


def test_no_server_named_is_a_mistake():
    with pytest.raises(ValueError, match="name a server"):
        cluster()
