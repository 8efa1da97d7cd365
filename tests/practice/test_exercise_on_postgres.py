"""An exercise that needs PostgreSQL gets an empty database of its own for every check."""

import os
import subprocess
import sys
import tempfile

import asyncpg
import pytest
from deskbook.practice.learner.submission import submit
from deskbook.services import ensure

CHECKS = '''
async def test_it_doubles(answer, database_url):
    """double(2) is 4, on a database that nobody has used before."""
    import asyncpg

    connection = await asyncpg.connect(database_url, timeout=5)
    try:
        print(await connection.fetchval("SELECT current_database()"), flush=True)
        await connection.execute("CREATE TABLE used (number int)")
        assert await connection.fetchval("SELECT $1::int * 2", 2) == answer.double(2)
    finally:
        await connection.close()
'''


@pytest.fixture(scope="module")
def on_postgres(make_exercise, tmp_path_factory):
    """The doubling exercise, with checks that ask a database."""
    folder = tmp_path_factory.mktemp("exercises") / "90_double"
    return make_exercise(folder, checks=CHECKS, more='needs = ["postgres"]', limit_s=3)


def database_of(verdict):
    """Return the name of the database, which the check prints."""
    return verdict.output.split()[0]


async def exists(name):
    connection = await asyncpg.connect(ensure("postgres").postgres.url, timeout=5)
    try:
        return await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name) == 1
    finally:
        await connection.close()


async def test_every_check_has_a_database_of_its_own(on_postgres, worker, right):
    verdicts = [submit(on_postgres, right, worker) for _ in range(3)]
    assert [(verdict.state, verdict.message) for verdict in verdicts] == [("passed", "")] * 3
    names = [database_of(verdict) for verdict in verdicts]
    assert len(set(names)) == 3
    assert [await exists(name) for name in names] == [False] * 3
    assert submit(on_postgres, right.replace("2 *", "3 *"), worker).state == "wrong"


CHECKS_THAT_LEAVE_SOMETHING = """
import asyncpg


async def test_it_doubles(answer, database_url):
    \"\"\"Leaves a table, and a transaction that holds its lock.\"\"\"
    connection = await asyncpg.connect(database_url, timeout=5)
    await connection.execute("CREATE TABLE used (number int)")
    await connection.execute("BEGIN; LOCK TABLE used")
    answer.left = connection
    assert answer.double(2) == 4


async def test_it_doubles_later(answer, database_url):
    \"\"\"Finds an empty database.\"\"\"
    connection = await asyncpg.connect(database_url, timeout=5)
    query = "SELECT to_regclass('used') IS NULL, (SELECT count(*) FROM pg_stat_activity WHERE datname = $1)"
    is_gone, sessions = await connection.fetchrow(query, connection._params.database)
    await connection.close()
    assert (is_gone, sessions) == (True, 1)
    assert await answer.double_later(2) == 4
"""


def test_each_test_of_a_check_finds_an_empty_database(make_exercise, tmp_path, worker, right):
    exercise = make_exercise(
        tmp_path / "90_double", checks=CHECKS_THAT_LEAVE_SOMETHING, more='needs = ["postgres"]', limit_s=10
    )
    verdict = submit(exercise, right, worker)
    assert (verdict.state, verdict.message) == ("passed", "")


async def test_a_killed_check_leaves_its_database_only_for_a_while(on_postgres, worker, right):
    late = submit(on_postgres, right.replace("return 2 * number", "while True: pass"), worker)
    assert late.state == "too slow"
    # PostgreSQL notices the death of a client after a moment; whoever comes then clears up.
    for _ in range(20):
        assert submit(on_postgres, right, worker).state == "passed"
        if not await exists(database_of(late)):
            return
    pytest.fail("the database of the killed check is still there")


def test_servers_that_a_check_needs_first_outlive_it(on_postgres, right):
    """In a process and servers of its own: here, others may hold the servers already."""
    program = (
        "import os, sys; from pathlib import Path; from deskbook.practice.checking.client import client\n"
        "from deskbook.practice.exercise.definition import read\n"
        "from deskbook.practice.learner.submission import submit\n"
        "from deskbook.services import status\n"
        "exercise = read(Path(sys.argv[1])); answer = sys.stdin.read()\n"
        "first = submit(exercise, answer, client); held = status()\n"
        "second = submit(exercise, answer, client)\n"
        "same = [it.pid for it in held] == [it.pid for it in status()]\n"
        "print(first.state, second.state, [it.clients for it in held] == [(os.getpid(),)], same)\n"
    )
    own = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    # Not `tmp_path`: with several workers it is too long for the path of a socket.
    with tempfile.TemporaryDirectory(prefix="own-", ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, on_postgres.folder],
            input=right,
            env=own | {"XDG_RUNTIME_DIR": folder, "TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout.split() == ["passed", "passed", "True", "True"], done.stderr
