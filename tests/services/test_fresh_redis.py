"""Logical databases of one's own, also on a server that holds other people's data."""

from __future__ import annotations

import os
import signal

import pytest
import redis
from deskbook.services import ServicesError, cluster, ensure, fresh_redis


@pytest.fixture(autouse=True, scope="module")
def server():
    """A server of this module alone: on the shared one other processes take databases."""
    with cluster(redis={}) as own, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", own.redis.url)
        yield


def connect(url):
    return redis.Redis.from_url(url, decode_responses=True)


def test_a_database_is_empty_apart_from_others_and_flushed_afterwards():
    with fresh_redis() as one, fresh_redis() as other, connect(one) as client, connect(other) as neighbour:
        client.set("price", 1)
        assert neighbour.dbsize() == 0
    assert one != other
    with connect(one) as client:
        assert client.dbsize() == 0


async def test_both_forms_work_inside_a_running_loop():
    async with fresh_redis() as one:
        with fresh_redis() as other:
            assert one != other


def test_the_claim_of_a_dead_process_is_free_and_its_keys_are_gone(sandbox, monkeypatch):
    with cluster(redis={"databases": "2"}) as own:
        monkeypatch.setenv("REDIS_URL", own.redis.url)
        sandbox.environment["REDIS_URL"] = own.redis.url
        holder = sandbox.start("""
from deskbook.services import fresh_redis
import redis
with fresh_redis() as url:
    client = redis.Redis.from_url(url)
    client.set('price', 1)
    say(url=url)
    sys.stdin.read()
""")
        url = holder.hear()["url"]
        with pytest.raises(ServicesError, match="All 1 logical databases"), fresh_redis():
            raise AssertionError("not reached")
        os.kill(holder.pid, signal.SIGKILL)
        holder.process.wait(10)
        with connect(own.redis.url) as client:
            sandbox.wait_until(
                lambda: not [one for one in client.client_list() if one["name"].startswith("deskbook-")],
                "the server has noticed",
            )
        with fresh_redis() as again, connect(again) as client:
            assert again == url
            assert client.dbsize() == 0


def test_data_of_others_are_not_flushed(monkeypatch):
    with cluster(redis={"databases": "3"}) as own:
        monkeypatch.setenv("REDIS_URL", own.redis.url)
        theirs = own.redis.url.rpartition("/")[0] + "/1"
        with connect(theirs) as client:
            client.set("theirs", "kept")
            with fresh_redis() as url:
                assert url.endswith("/2")
            assert client.get("theirs") == "kept"


def test_the_server_is_unchanged_afterwards():
    with connect(ensure("redis").redis.url) as client:
        before = client.keys()
        with fresh_redis():
            assert len(client.keys()) == len(before) + 1
        assert client.keys() == before
