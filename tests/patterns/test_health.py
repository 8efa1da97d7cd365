"""Readiness asks what is needed, in time and not for every probe; liveness asks nobody."""

from __future__ import annotations

import asyncio
import doctest
import functools
import inspect
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from fastapi import FastAPI

from reference_app.patterns.health import Health, Report

Make = Callable[..., Health]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


class Dependency:
    """Something to be asked that answers when the test says so."""

    def __init__(self) -> None:
        self.asked = self.asked_at_once = self.most_at_once = 0
        self.answers, self.error = asyncio.Event(), None
        self.answers.set()

    async def __call__(self) -> None:
        self.asked += 1
        self.asked_at_once += 1
        self.most_at_once = max(self.most_at_once, self.asked_at_once)
        try:
            await self.answers.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.asked_at_once -= 1

    error: Exception | None


class Clock:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def get(app: FastAPI, path: str, method: str = "GET") -> tuple[int, dict[str, str], Any]:
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": ""}
    scope |= {"query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http"}
    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    body = b"".join(it.get("body", b"") for it in messages[1:])
    return messages[0]["status"], headers, json.loads(body)


def service(health: Health) -> FastAPI:
    app = FastAPI()
    app.include_router(health.router())
    return app


# Each check is a rule, and a wrong twin further down (the pattern with one mistake) breaks it.


async def check_that_a_hang_is_a_failure_in_time(make: Make) -> None:
    health, hangs = make(timeout_s=0.01), Dependency()
    hangs.answers.clear()
    health.add("exchange", hangs)
    report = await asyncio.wait_for(health.ready(), 5)
    assert report == Report(status="unavailable", failing={"exchange": "TimeoutError"})
    assert hangs.asked_at_once == 0, "the check goes on"


async def check_that_the_checks_run_at_once(make: Make) -> None:
    health, all_are_asked = make(timeout_s=5), asyncio.Barrier(3)
    for name in ("database", "redis", "exchange"):
        health.add(name, all_are_asked.wait)
    assert (await health.ready()).status == "ok"


async def check_that_probes_share_an_answer(make: Make) -> None:
    clock, database = Clock(), Dependency()
    health = make(clock=clock)
    health.add("database", database)
    for rounds in (1, 2):
        database.answers.clear()
        probes = [asyncio.create_task(health.ready()) for _ in range(20)]
        await settle()
        database.answers.set()
        assert {(await it).status for it in probes} == {"ok"}
        clock.now_s += 0.9
        await health.ready()
        assert (database.asked, health.rounds) == (rounds, rounds), "each probe asks the database"
        clock.now_s += 0.2


async def check_that_closing_beats_every_answer(make: Make) -> None:
    health, database = make(), Dependency()
    health.add("database", database)
    database.answers.clear()
    asked_before = asyncio.create_task(health.ready())
    await settle()
    health.close()
    database.answers.set()
    for report in (await asked_before, await health.ready()):
        assert report == Report(status="unavailable", failing={"service": "Closing"})
    assert database.asked == 1


async def check_that_no_text_of_an_error_gets_out(make: Make) -> None:
    health, database = make(), Dependency()
    database.error = ConnectionError("postgresql://desk:secret@db")
    health.add("database", database)
    status, headers, body = await get(service(health), "/health/ready")
    assert (status, headers["content-type"]) == (503, "application/problem+json")
    assert body == {"title": "Service Unavailable", "status": 503, "failing": {"database": "ConnectionError"}}
    assert headers["cache-control"] == "no-store"


async def check_that_liveness_asks_nobody(make: Make) -> None:
    health, database = make(), Dependency()
    database.error = ConnectionError("down")
    health.add("database", database)
    assert (await get(service(health), "/health/live"))[::2] == (200, {"status": "ok"})
    assert database.asked == 0


async def check_that_a_prober_who_leaves_is_no_failure(make: Make) -> None:
    health, database = make(), Dependency()
    health.add("database", database)
    database.answers.clear()
    leaver, stayer = asyncio.create_task(health.ready()), asyncio.create_task(health.ready())
    await settle()
    leaver.cancel()
    await settle()
    assert leaver.cancelled()
    database.answers.set()
    assert (await asyncio.wait_for(stayer, 5)).status == "ok"
    assert health.failures.total() == 0


async def check_that_a_check_that_cancels_itself_is_a_failure(make: Make) -> None:
    async def cancels_itself() -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    health = make()
    health.add("driver", cancels_itself)
    assert (await health.ready()).failing == {"driver": "ConnectionError"}


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(Health))


class NoTimeLimit(Health):
    """Wrong: the prober gives up in time, but the checks wait on, until they hold the whole pool."""

    async def _run(self, check: Any) -> Exception | None:
        try:
            await check()
        except Exception as error:
            return error
        return None


class OneAfterTheOther(Health):
    """Wrong: three dependencies that hang take three times the limit, and the prober gives up first."""

    async def _ask(self) -> Report:
        failing: dict[str, str] = {}
        for name, (check, _) in self._checks.items():
            if (error := await self._run(check)) is not None:
                failing[name] = type(error).__name__
        return Report(status="unavailable" if failing else "ok", failing=failing)


class NoLock(Health):
    """Wrong: it keeps the answer, but all probes that come while there is none ask."""

    async def ready(self) -> Report:
        if self._clock() - self._asked_s >= self._max_age_s:
            self._report, self._asked_s = await self._ask(), self._clock()
        return self._report


class LooksAtTheStart(Health):
    """Wrong: when it is closed while it asks, it says ok, and the balancer believes it for a period more."""

    async def ready(self) -> Report:
        closed = self.closed
        report = await super().ready()
        return report if closed or report.failing != {"service": "Closing"} else Report(status="ok")


class SaysWhy(Health):
    """Wrong: the text of a driver's error holds addresses and passwords."""

    async def _ask(self) -> Report:
        report = await super()._ask()
        errors = {name: str(await self._run(check)) for name, (check, _) in self._checks.items()}
        return report.model_copy(update={"failing": errors})


class LivesWithTheDatabase(Health):
    """Wrong: liveness asks what readiness asks, so a database that is away restarts every worker."""

    def router(self, prefix: str = "/health") -> Any:
        router = super().router(prefix)
        live = next(it for it in router.routes if getattr(it, "path", "").endswith("live"))
        router.add_api_route("/live", self.ready)
        router.routes.remove(live)
        return router


class CatchesEverything(Health):
    """Wrong: the prober's cancellation is taken for a failure of the database."""

    async def ready(self) -> Report:
        try:
            return await super().ready()
        except BaseException:
            self.failures["database"] += 1
            return Report(status="unavailable")


class TrustsDrivers(Health):
    """Wrong: a check that ends as cancelled looks to the prober as if the prober had been."""

    async def _ask(self) -> Report:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._run(check)) for check, _ in self._checks.values()]
        return Report(status="unavailable" if any(it.result() for it in tasks) else "ok")


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (NoTimeLimit, check_that_a_hang_is_a_failure_in_time),
        (OneAfterTheOther, check_that_the_checks_run_at_once),
        (NoLock, check_that_probes_share_an_answer),
        (LooksAtTheStart, check_that_closing_beats_every_answer),
        (SaysWhy, check_that_no_text_of_an_error_gets_out),
        (LivesWithTheDatabase, check_that_liveness_asks_nobody),
        (CatchesEverything, check_that_a_prober_who_leaves_is_no_failure),
        (TrustsDrivers, check_that_a_check_that_cancels_itself_is_a_failure),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Make, check: Callable[[Make], Awaitable[None]]) -> None:
    def fast(**options: Any) -> Health:
        return twin(**{"timeout_s": 0.01} | options)

    with pytest.raises((AssertionError, TimeoutError, asyncio.CancelledError)):
        asyncio.run(asyncio.wait_for(check(twin if check.__name__.endswith("at_once") else fast), 0.5))


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
@pytest.mark.parametrize("is_well", [True, False])
@in_a_loop
async def test_a_probe_may_send_head_and_is_told_the_same(path: str, is_well: bool) -> None:
    health = Health()
    health.add("database", lambda: asyncio.sleep(0, is_well))
    app = service(health)
    assert await get(app, path, "HEAD") == await get(app, path)
    assert set(app.openapi()["paths"][path]) == {"get"}


@in_a_loop
async def test_what_a_request_can_do_without_degrades() -> None:
    health, redis, database = Health(), Dependency(), Dependency()
    redis.error = ConnectionError("down")
    health.add("redis", redis, required=False)
    health.add("database", database)
    app = service(health)
    assert (await get(app, "/health/ready"))[::2] == (
        200,
        {"status": "degraded", "failing": {"redis": "ConnectionError"}},
    )
    assert health.failures == {"redis": 1}


@in_a_loop
async def test_false_is_a_failure_and_none_is_not() -> None:
    health = Health()
    health.add("yes", lambda: asyncio.sleep(0, None))
    health.add("no", lambda: asyncio.sleep(0, False), required=False)
    assert (await health.ready()).failing == {"no": "ValueError"}


@in_a_loop
async def test_it_recovers_and_the_log_tells_each_change_once(caplog: pytest.LogCaptureFixture) -> None:
    clock, database = Clock(), Dependency()
    health = Health(clock=clock)
    health.add("database", database)
    with caplog.at_level(logging.INFO):
        for error in (None, ConnectionError("down"), ConnectionError("down"), None, None):
            database.error = error
            assert ((await health.ready()).status == "ok") is (error is None)
            clock.now_s += 1
    # Not those of asyncio: what other tests have left is logged when it is collected.
    assert [(it.levelname, it.getMessage()) for it in caplog.records if it.name != "asyncio"] == [
        ("WARNING", "health check database fails"),
        ("INFO", "health check database is well again"),
    ]
    assert caplog.records[0].exc_info


@in_a_loop
async def test_a_check_that_is_added_is_asked_at_once() -> None:
    health, database = Health(), Dependency()
    assert (await health.ready()).status == "ok"
    database.error = ConnectionError("down")
    health.add("database", database)
    assert (await health.ready()).status == "unavailable"


@in_a_loop
async def test_the_service_can_answer_with_its_own_problem_and_the_docs_know_the_503() -> None:
    class Closed(Exception):
        pass

    health = Health(unavailable=lambda report: Closed(*report.failing))
    app = service(health)
    assert (await get(app, "/health/ready"))[::2] == (200, {"status": "ok"})
    health.close()
    with pytest.raises(Closed, match="service"):
        await get(app, "/health/ready")
    responses = app.openapi()["paths"]["/health/ready"]["get"]["responses"]
    assert list(responses) == ["200", "503"]
    assert list(responses["503"]["content"]) == ["application/problem+json"]


def test_the_example_in_the_docstring_runs(caplog: pytest.LogCaptureFixture) -> None:
    assert doctest.testmod(sys.modules[Health.__module__]).failed == 0


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(Health).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"timeout_s": 0.8, "max_age_s": 1.0}


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
@pytest.mark.parametrize("is_well", [True, False])
@in_a_loop
async def test_no_cache_keeps_an_answer(path: str, is_well: bool) -> None:
    health = Health()
    health.add("database", lambda: asyncio.sleep(0, is_well))
    assert (await get(service(health), path))[1]["cache-control"] == "no-store"


@in_a_loop
async def test_with_no_age_every_probe_asks_and_with_no_time_only_what_answers_at_once_is_well() -> None:
    health, database = Health(max_age_s=0, timeout_s=0), Dependency()

    async def at_once() -> None: ...

    health.add("memory", at_once)
    for _ in range(2):
        assert (await health.ready()).status == "ok"
    assert health.rounds == 2
    database.answers.clear()
    health.add("database", database)
    assert (await health.ready()).failing == {"database": "TimeoutError"}


@in_a_loop
async def test_the_log_tells_a_failure_once_and_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    health, database = Health(max_age_s=0), Dependency()
    health.add("database", database)
    database.error = LookupError("no such host")
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await health.ready()
    assert [it.getMessage() for it in caplog.records if it.name != "asyncio"] == [
        "health check database fails"
    ]
    assert "no such host" in caplog.text
