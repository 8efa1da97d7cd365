"""Requests that start tasks, and the end of the service, in every order: no task is left or too many."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.task_registry import NotStarted, TaskRegistry


class Service:
    """A registry with one place, and how much of its work runs."""

    def __init__(self, registry: type[TaskRegistry]) -> None:
        self.tasks = registry(max_tasks=1, finish_s=None, cancel_s=None)  # type: ignore[arg-type]
        self.running = self.most_running = self.ended = 0
        self.left: int | None = None

    async def refresh(self) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
        finally:
            self.running -= 1
            self.ended += 1


async def request(service: Service) -> str:
    await asyncio.sleep(0)
    try:
        service.tasks.start(service.refresh())
    except NotStarted:
        return "refused"
    return "started"


async def end(service: Service) -> None:
    async with service.tasks:
        await asyncio.sleep(0)
    service.left = service.running


def no_task_is_left(service: Service, responses: dict[str, Any]) -> None:
    assert service.left in (0, None), "the service ended before its tasks"
    assert (service.running, len(service.tasks)) == (0, 0), "a task was left"
    assert service.most_running <= 1, "more tasks than allowed"
    told = list(responses.values())
    assert (service.tasks.started, service.tasks.refused) == (told.count("started"), told.count("refused"))
    assert service.ended + service.tasks.cancelled >= service.tasks.started


REQUESTS: dict[str, Any] = {"A": request, "B": request, "E": end}


@pytest.mark.parametrize(("names", "cancel"), [("ABE", []), ("AE", ["E"])])
async def test_whatever_the_order(names: str, cancel: list[str]) -> None:
    requests = {name: REQUESTS[name] for name in names}
    report = await explore(
        lambda: Service(TaskRegistry), requests, invariant=no_task_is_left, cancel=cancel, max_seconds=60
    )
    assert report.verdict == "exhausted", report.text()


class ClosesLast(TaskRegistry):
    async def __aexit__(self, *exc_info: object) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self._finish_s)


class CountsLate(TaskRegistry):
    """It looks whether there is room, and takes it when the task runs."""

    def start(self, work: Any, *, name: str | None = None) -> Any:
        async def counted() -> None:
            self._tasks.add(asyncio.current_task())  # type: ignore[arg-type]
            await work

        self.__dict__.setdefault("kept", set())
        if self._closed or len(self._tasks) >= self._max_tasks:
            return super().start(work, name=name)
        self.started += 1
        task = asyncio.create_task(counted())
        self.kept.add(task)
        task.add_done_callback(self._ended)
        return task


@pytest.mark.parametrize("twin", [ClosesLast, CountsLate])
async def test_a_wrong_twin_is_found(twin: Any) -> None:
    report = await explore(lambda: Service(twin), REQUESTS, invariant=no_task_is_left, max_seconds=60)
    assert report.verdict == "counterexample", report.text()
