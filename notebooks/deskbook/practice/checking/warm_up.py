"""Pay for imports and caches once, before the first check."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_CHECKS = '''
async def test_value(answer, evidence, http):
    """Compares."""
    evidence.given(1)
    assert answer.value == 2
'''


def import_what_checks_use() -> None:
    """Import it before the first fork, so that no answer spends its time on it."""
    sys.dont_write_bytecode = True  # an exercise's folder stays as it is
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)
    # The command line of httpx, with rich and pygments: five megabytes that no check uses.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    import fastapi  # noqa: F401
    import httpx  # noqa: F401

    from deskbook.practice.checking import child  # noqa: F401
    from deskbook.races import can_overlap, explore_sync  # noqa: F401


def rehearsals() -> list[Callable[[], None]]:
    """Return small checks of each kind, which fill the caches of the libraries: 0.4 s in all."""
    return [_run_pytest, _send_a_request, _explore]


def _send_a_request() -> None:
    import httpx
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/quotes/{symbol}")
    async def read_quote(symbol: str, limit: int = 1) -> dict[str, str]:
        return {"symbol": symbol}

    async def request() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
            await client.get("/quotes/IBM")

    asyncio.run(request())


def _explore() -> None:
    from fastapi import FastAPI

    from deskbook.races import can_overlap, explore_sync, post

    def make_app() -> FastAPI:
        app = FastAPI()
        app.state.count = 0

        @app.post("/count")
        async def add() -> None:
            count = app.state.count
            await asyncio.sleep(0)
            app.state.count = count + 1

        return app

    requests = {"A": post("/count"), "B": post("/count")}
    report = explore_sync(make_app, requests, oracle="serializable", max_schedules=50)
    if report.counterexample is not None:
        report.counterexample.timeline().html()
    can_overlap(make_app, requests)


def _run_pytest() -> None:
    import pytest

    from deskbook.practice import for_checks
    from deskbook.practice.checking.child import PYTEST_OPTIONS
    from deskbook.practice.checking.collector import Collector
    from deskbook.practice.exercise.answers import Namespace

    with tempfile.TemporaryDirectory(prefix=f"deskbook-practice-{os.getpid()}-") as folder:
        checks = Path(folder, "warm_up_checks.py")
        checks.write_text(_CHECKS, encoding="utf-8")
        collector = Collector(Namespace({"value": 1}), lambda news: None)
        options = [*PYTEST_OPTIONS, f"--rootdir={folder}", str(checks)]
        pytest.main(options, plugins=[collector, for_checks])


def import_needs(needs: list[str]) -> bool:
    """Import what the checks of an exercise need beyond the rest: most exercises do without a database.

    Returns:
        Whether there was anything to import.
    """
    if "postgres" not in needs or "sqlalchemy" in sys.modules:
        return False
    import getpass  # noqa: F401 - asyncpg imports this one and the next when it connects
    import stringprep  # noqa: F401

    import asyncpg  # noqa: F401
    import sqlalchemy.dialects.postgresql.asyncpg
    import sqlalchemy.ext.asyncio
    import sqlalchemy.orm  # noqa: F401

    import deskbook.services.supervisor  # noqa: F401
    from deskbook.practice.checking import database  # noqa: F401
    from deskbook.races import SQLAlchemyGate  # noqa: F401

    return True
