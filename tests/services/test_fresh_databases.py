"""Databases of one's own: clean, isolated, built once, and never left behind."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from deskbook.services import ServicesError, Template, cluster, ensure, fresh_database
from deskbook.services.external import run_coroutine
from deskbook.services.statements import with_database

BUILD = """
import asyncio, asyncpg
async def make(url):
    connection = await asyncpg.connect(url)
    await connection.execute('CREATE TABLE prices AS SELECT generate_series(1, 1000) AS n')
    await connection.close()
"""


async def make(url):
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE prices AS SELECT generate_series(1, 1000) AS n")
    await connection.close()


def fetch(url, query, *values):
    async def ask():
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    return [row[0] for row in run_coroutine(ask)]


def databases(start=""):
    url = ensure("postgres").postgres.url
    return fetch(url, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", start)


def name_of(url):
    return url.rpartition("/")[2]


@pytest.fixture(autouse=True, scope="module")
def server():
    """A server of this module alone: on the shared one other processes make databases, and clean up."""
    with cluster(postgres={}) as own, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", own.postgres.url)
        yield


@pytest.fixture
def name():
    """A template name of this test alone."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def client(sandbox):
    """Start a process that shares this process's server, by its address."""

    def start(code):
        sandbox.environment["DATABASE_URL"] = ensure("postgres").postgres.url
        return sandbox.start("from deskbook.services import Template, fresh_database\n" + BUILD + code)

    return start


def test_a_database_is_empty_and_gone_afterwards():
    with fresh_database() as url:
        assert name_of(url) in databases()
        assert fetch(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [0]
    assert name_of(url) not in databases()


async def test_both_forms_work_inside_a_running_loop(name):
    template = Template(name, make)
    with fresh_database(template) as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT count(*) FROM prices") == 1000
        await connection.close()
    async with fresh_database(template) as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT count(*) FROM prices") == 1000
        await connection.close()
    assert name_of(url) not in databases()


async def test_async_form_does_not_hold_the_loop_up(name):
    building = threading.Event()
    go_on = threading.Event()

    def build(url):
        building.set()
        assert go_on.wait(10)

    async def release():
        await asyncio.to_thread(building.wait, 10)
        go_on.set()

    releasing = asyncio.create_task(release())
    async with fresh_database(Template(name, build)):
        await releasing


async def test_cancelled_while_opening_leaves_no_database(name):
    building, go_on = threading.Event(), threading.Event()

    def build(url):
        building.set()
        assert go_on.wait(10)

    before = set(databases("deskbook_fresh"))

    async def use():
        async with fresh_database(Template(name, build)):
            raise AssertionError("not reached")

    using = asyncio.create_task(use())
    await asyncio.to_thread(building.wait, 10)
    using.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert set(databases("deskbook_fresh")) <= before


def test_an_open_connection_does_not_keep_the_database():
    async def leave_open(url):
        return await asyncpg.connect(url)

    loop = asyncio.new_event_loop()
    with fresh_database() as url:
        connection = loop.run_until_complete(leave_open(url))
    assert name_of(url) not in databases()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        loop.run_until_complete(connection.fetchval("SELECT 1"))
    connection.terminate()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_clones_do_not_see_each_other(name):
    template = Template(name, make)
    with fresh_database(template) as one, fresh_database(template) as other:
        fetch(one, "DELETE FROM prices")
        assert fetch(one, "SELECT count(*) FROM prices") == [0]
        assert fetch(other, "SELECT count(*) FROM prices") == [1000]
    with pytest.raises(asyncpg.PostgresError, match="not currently accepting connections"):
        fetch(with_database(ensure("postgres").postgres.url, template.database), "SELECT 1")
    with fresh_database(template) as third:
        assert fetch(third, "SELECT count(*) FROM prices") == [1000]


def test_threads_get_different_databases_of_a_template_built_once(name):
    built = []

    def build(url):
        built.append(url)
        asyncio.run(make(url))

    template = Template(name, build)
    together = threading.Barrier(6)

    def use(_):
        together.wait(10)
        with fresh_database(template) as url:
            assert fetch(url, "SELECT count(*) FROM prices") == [1000]
            return name_of(url)

    with ThreadPoolExecutor(6) as pool:
        names = list(pool.map(use, range(6)))
    assert len(set(names)) == 6
    assert len(built) == 1


def test_racing_processes_build_a_template_once(client, name):
    code = f"""
async def build(url):
    say(built=True)
    await make(url)
say(ready=True); sys.stdin.readline()
with fresh_database(Template({name!r}, build)) as url:
    say(url=url)
    sys.stdin.read()
"""
    racers = [client(code) for _ in range(4)]
    for racer in racers:
        assert racer.hear() == {"ready": True}
    for racer in racers:
        racer.tell()
    heard = [racer.hear() for racer in racers]
    built = [racer for racer, said in zip(racers, heard, strict=True) if said == {"built": True}]
    assert len(built) == 1
    heard = [said for said in heard if "url" in said] + [built[0].hear()]
    assert len({said["url"] for said in heard}) == 4
    assert all(fetch(said["url"], "SELECT count(*) FROM prices") == [1000] for said in heard)
    for racer in racers:
        racer.end()


def test_killed_in_the_middle_of_building_the_next_one_builds_anew(client, name):
    victim = client(f"""
async def build(url):
    await make(url)
    say(half=True)
    await asyncio.sleep(60)
with fresh_database(Template({name!r}, build)): pass
""")
    victim.hear()
    half_built = databases("deskbook_building_")
    victim.kill()
    assert half_built
    with fresh_database(Template(name, make)) as url:
        assert fetch(url, "SELECT count(*) FROM prices") == [1000]
    assert not set(half_built) & set(databases())


def test_a_failing_build_is_reported_and_tried_again(name):
    async def fail(url):
        await make(url)
        raise LookupError("no such file: prices.csv")

    before = set(databases())
    with pytest.raises(LookupError, match=r"prices\.csv"), fresh_database(Template(name, fail)):
        raise AssertionError("not reached")
    assert set(databases()) <= before
    with fresh_database(Template(name, make)) as url:
        assert fetch(url, "SELECT count(*) FROM prices") == [1000]


def test_a_connection_left_open_by_build_does_not_matter(name):
    holders = []

    def build(url):
        asyncio.run(make(url))
        code = (
            "import asyncio, asyncpg, sys, os\nasync def main(url):\n    held = await asyncpg.connect(url)\n"
        )
        code += "    print(1, flush=True); sys.stdin.read(); os._exit(0)\nasyncio.run(main(sys.argv[1]))"
        holders.append(
            subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        holders[0].stdout.readline()

    try:
        with fresh_database(Template(name, build)) as url:
            assert fetch(url, "SELECT count(*) FROM prices") == [1000]
    finally:
        holders[0].communicate(timeout=10)


def test_databases_of_dead_processes_are_dropped_and_those_of_living_ones_stay(client):
    hold = "with fresh_database() as url: say(url=url); sys.stdin.read()"
    victim, survivor = client(hold), client(hold)
    dead, alive = name_of(victim.hear()["url"]), name_of(survivor.hear()["url"])
    os.kill(victim.pid, signal.SIGKILL)
    victim.process.wait(10)

    # PostgreSQL frees the claim when it notices that the connection is gone, so ask until it has.
    for _ in range(100):
        next_one = client("with fresh_database() as url: say(url=url)")
        next_one.hear()
        next_one.end()
        if dead not in databases():
            break
    assert dead not in databases()
    assert alive in databases()
    survivor.end()
    assert alive not in databases()


def test_templates_unused_for_a_week_are_dropped(client, name):
    old, used = Template(f"{name}-old", make), Template(f"{name}-used", make)
    for template in (old, used):
        with fresh_database(template):
            pass
    url = ensure("postgres").postgres.url
    fetch(url, f"COMMENT ON DATABASE {old.database} IS 'deskbook template, last used 2026-01-01'")
    next_one = client("with fresh_database() as url: say(url=url)")
    next_one.hear()
    next_one.end()
    assert old.database not in databases()
    assert used.database in databases()
    with fresh_database(old) as url:
        assert fetch(url, "SELECT count(*) FROM prices") == [1000]


def test_createdb_is_all_a_user_needs_and_without_it_one_is_told_so(monkeypatch, name):
    with cluster(postgres={}) as own:
        fetch(own.postgres.url, "CREATE ROLE guest LOGIN PASSWORD 'guest'")
        host = own.postgres.url.partition("@")[2]
        monkeypatch.setenv("DATABASE_URL", f"postgresql://guest:guest@{host}")
        with pytest.raises(ServicesError, match=r"may not create databases.*CREATEDB"), fresh_database():
            raise AssertionError("not reached")
        fetch(own.postgres.url, "ALTER ROLE guest CREATEDB")
        with fresh_database(Template(name, make)) as url:
            assert fetch(url, "SELECT count(*) FROM prices") == [1000]


def test_used_twice_at_once_is_refused():
    database = fresh_database()
    with database, pytest.raises(RuntimeError, match="one for each block"):
        database.__enter__()
