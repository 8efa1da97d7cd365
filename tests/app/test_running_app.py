"""`running_app` gives a block a database of its own, and leaves nothing, however the block ends."""

from __future__ import annotations

import asyncio
import gc
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from deskbook.desk import RunningApp, in_process, running_app
from deskbook.desk.database import desk_template
from deskbook.services import ensure
from fastapi import Request

import reference_app
from reference_app.settings import SettingsError


async def databases() -> set[str]:
    service = ensure("postgres").postgres
    assert service is not None
    connection = await asyncpg.connect(service.url)
    try:
        return {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()


def name_of(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


async def test_nothing_is_left_after_the_block() -> None:
    tasks = asyncio.all_tasks()
    async with running_app() as desk:
        assert (await desk.client.get("/v1/instruments")).status_code == 200
        assert await desk.sql("SELECT count(*) FROM candles WHERE volume >= $1", 0) == [{"count": 12_154}]
        assert name_of(desk.database_url) in await databases()
    assert asyncio.all_tasks() == tasks
    assert name_of(desk.database_url) not in await databases()
    assert desk.state["engine"].pool.checkedin() == 0  # type: ignore[attr-defined]
    assert desk.client.is_closed


async def test_a_full_garbage_collection_passes_over_what_the_app_started_with() -> None:
    objects = len(gc.get_objects())
    async with running_app() as desk:
        assert gc.get_freeze_count() > objects  # a collection passes over frozen objects
        assert len(gc.get_objects()) < objects / 2
        assert (await desk.client.get("/v1/instruments")).status_code == 200
    assert gc.get_freeze_count() == 0
    assert len(gc.get_objects()) > objects / 2


async def test_nothing_is_left_after_a_block_that_fails() -> None:
    tasks = asyncio.all_tasks()
    seen: list[RunningApp] = []

    async def block() -> None:
        async with running_app() as desk:
            seen.append(desk)
            await desk.client.get("/v1/instruments")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()
    (desk,) = seen
    assert asyncio.all_tasks() == tasks
    assert name_of(desk.database_url) not in await databases()
    assert desk.state["engine"].pool.checkedin() == 0  # type: ignore[attr-defined]


async def test_nothing_is_left_after_a_block_that_is_cancelled() -> None:
    tasks = asyncio.all_tasks()
    inside = asyncio.Event()
    seen: list[RunningApp] = []

    async def block() -> None:
        async with running_app() as desk:
            seen.append(desk)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == tasks
    assert name_of(seen[0].database_url) not in await databases()


async def test_two_blocks_do_not_see_each_other() -> None:
    async with running_app() as one, running_app() as other:
        account = (await one.client.post("/v1/accounts", json={"name": "Ada"})).json()["id"]
        assert (await one.client.get(f"/v1/accounts/{account}")).status_code == 200
        assert (await other.client.get(f"/v1/accounts/{account}")).status_code == 404


async def test_settings_can_be_overridden_and_a_wrong_one_is_a_sentence() -> None:
    async with running_app(database_pool_size=2, max_body_size_bytes=10) as desk:
        assert desk.state["engine"].pool.size() == 2  # type: ignore[attr-defined]
        assert (await desk.client.post("/v1/accounts", json={"name": "Ada"})).status_code == 413
    with pytest.raises(SettingsError, match="DESK_DATABASE_POOL_SIZ is not a setting"):
        async with running_app(database_pool_siz=2):
            pass


async def test_a_request_that_hangs_ends_with_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "REQUEST_TIMEOUT_S", 0.05)
    async with running_app() as desk:

        @desk.app.get("/never")
        async def never() -> None:
            await asyncio.Event().wait()

        with pytest.raises(httpx.ReadTimeout, match=r"GET /never took longer than 0\.05 s"):
            await desk.client.get("/never")


async def test_what_one_request_puts_into_its_state_the_next_does_not_find() -> None:
    async with running_app() as desk:

        @desk.app.get("/seen")
        async def seen(request: Request) -> bool:
            found = hasattr(request.state, "mark")
            request.state.mark = True
            return found

        assert [(await desk.client.get("/seen")).json() for _ in range(2)] == [False, False]


@pytest.mark.parametrize(
    "changed", ["market/service.py", "migrations/env.py", "data/stocks.csv.gz", "new.py"]
)
def test_the_template_is_named_after_its_content(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of the app counts, a new one too: nothing else would tell that a template is out of date."""
    copy = tmp_path / "reference_app"
    shutil.copytree(Path(reference_app.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(reference_app, "__file__", str(copy / "__init__.py"))
    original = desk_template.__wrapped__()
    assert original == desk_template.__wrapped__()
    assert len(original.name) == len("desk ") + 16
    with (copy / changed).open("ab") as file:
        file.write(b"# changed")
    assert desk_template.__wrapped__().name != original.name
