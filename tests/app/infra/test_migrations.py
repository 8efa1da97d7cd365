"""Models and migrations say the same, and migrating works from anywhere, twice and at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from deskbook.services import fresh_database
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

import reference_app.infra.database.pattern_tables  # noqa: F401 - it fills the metadata, as the models do
from reference_app.infra.database.base import Base
from reference_app.infra.database.revisions import MIGRATIONS, head
from reference_app.infra.database.schema import LOCKS, config, upgrade, upgrade_async
from reference_app.infra.database.startup import StartupError
from reference_app.nouns import import_models
from reference_app.patterns.advisory_lock import AdvisoryLocks
from reference_app.settings import SettingsError, normalise_database_url

#: It lists what Alembic does not compare: checks, keys and indexes, as PostgreSQL spells them.
CONSTRAINTS = """
    SELECT conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid) AS line
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 't'
    AND conrelid <> coalesce(to_regclass('alembic_version'), 0)
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    ORDER BY 1
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(normalise_database_url(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


async def lines(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_autogenerate_finds_nothing_to_do() -> None:
    import_models()
    async with fresh_database() as url:
        await upgrade_async(url)
        async with connected(url) as connection:
            difference = await connection.run_sync(
                lambda sync: compare_metadata(
                    MigrationContext.configure(sync, opts={"compare_server_default": True}), Base.metadata
                )
            )
    assert difference == []


async def test_every_check_key_and_index_is_the_same_in_models_and_migrations() -> None:
    import_models()
    async with fresh_database() as migrated, fresh_database() as created:
        await upgrade_async(migrated)
        async with connected(created) as connection:
            await connection.run_sync(Base.metadata.create_all)
        expected = await lines(created, CONSTRAINTS)
        assert await lines(migrated, CONSTRAINTS) == expected
    assert len(expected) > 20


async def test_down_and_up_again_leaves_nothing_between() -> None:
    everything = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace UNION ALL " \
                 "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"  # fmt: skip
    async with fresh_database() as url:
        await upgrade_async(url)
        async with connected(url) as connection:
            await connection.run_sync(lambda sync: command.downgrade(config(sync), "base"))
        assert {name for (name,) in await lines(url, everything)} <= {
            "alembic_version",
            "alembic_version_pkc",
        }
        await upgrade_async(url)
        assert len(await lines(url, everything)) > 20


async def test_processes_that_migrate_at_the_same_moment_do_it_once() -> None:
    async with fresh_database() as url:
        command = [sys.executable, "-m", "reference_app.infra.migrate"]
        environment = {**os.environ, "DATABASE_URL": url}
        # Both are started and wait for the lock that a migration takes first; then both go on at once.
        holder = await asyncpg.connect(url)
        await holder.execute("SELECT pg_advisory_lock($1)", LOCKS.lock_id("schema"))
        processes = [await asyncio.create_subprocess_exec(*command, env=environment) for _ in range(2)]
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(60):
            while await holder.fetchval(waiting) < len(processes):
                pass  # Each query gives the processes time.
        await holder.close()
        assert [await process.wait() for process in processes] == [0, 0]
        assert await lines(url, "SELECT version_num FROM alembic_version") == [(head(),)]


async def test_a_migration_that_waits_too_long_for_another_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "reference_app.infra.database.schema.LOCKS", AdvisoryLocks("reference_app.infra.migrate", wait_s=0.05)
    )
    async with fresh_database() as url:
        holder = await asyncpg.connect(url)
        await holder.execute("SELECT pg_advisory_lock($1)", LOCKS.lock_id("schema"))
        with pytest.raises(StartupError, match="Another process has been migrating"):
            await upgrade_async(url)
        await holder.close()
        await upgrade_async(url)  # The first try has left nothing in the way.


async def test_two_databases_at_once_do_not_get_mixed_up() -> None:
    async with fresh_database() as one, fresh_database() as other:
        async with asyncio.TaskGroup() as group:
            group.create_task(upgrade_async(one))
            group.create_task(asyncio.to_thread(upgrade, other))
        for url in (one, other):
            assert await lines(url, "SELECT version_num FROM alembic_version") == [(head(),)]


async def test_migrating_works_where_a_loop_is_running() -> None:
    async with fresh_database() as url:
        upgrade(url)
        assert await lines(url, "SELECT version_num FROM alembic_version") == [(head(),)]


def test_migrating_works_where_no_loop_is_running() -> None:
    with fresh_database() as url:
        upgrade(url)
        upgrade(url)
        assert asyncio.run(lines(url, "SELECT version_num FROM alembic_version")) == [(head(),)]


async def test_a_failing_step_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fresh_database() as url:
        await lines(url, "CREATE TABLE accounts (id int)")  # in the way of the second migration
        with pytest.raises(Exception, match="accounts"):
            await upgrade_async(url)
        tables = await lines(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables == [("accounts",)]


def test_an_address_that_is_none_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match="expected a URL such as"):
        upgrade("mysql://hunter2@h/d")


def test_the_migrations_are_in_the_package_and_in_one_line() -> None:
    names = sorted(path.name for path in (MIGRATIONS / "versions").glob("0*.py"))
    assert names[0].startswith("0001_")
    numbers = [name[:4] for name in names]
    assert numbers == sorted(set(numbers))  # No number is used twice; there may be gaps.
    assert head() == ScriptDirectory.from_config(config()).get_current_head()
    assert not list(Path(__file__).parents[3].glob("alembic*"))
