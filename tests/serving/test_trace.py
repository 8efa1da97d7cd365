"""A trace says who held the event loop: by rule on made-up steps, and against an app that blocks."""

from __future__ import annotations

import asyncio

import pytest
from deskbook.module_cells import write_module
from deskbook.pictures import Span
from deskbook.serving import ServingError, serving_app
from deskbook.serving.step_recorder import NUMBER_HEADER, Noted, StepRecorder
from deskbook.serving.trace import _spans, trace

APP = """
import asyncio, time
from fastapi import FastAPI

app = FastAPI()

@app.get("/quotes/{symbol}")
async def quote(symbol: str):
    await asyncio.sleep(0)

@app.get("/reports/blocking")
async def blocking():
    time.sleep(0.3)

@app.get("/reports/threaded")
def threaded():
    time.sleep(0.3)
"""


def test_a_request_is_running_blocked_in_a_thread_or_waiting() -> None:
    own = Noted(loop=[(1.0, 1.1), (1.8, 1.9)], threads=[(1.55, 1.7)])
    blocks = [(1.05, 1.06), (1.2, 1.5), (1.6, 1.602), (0.0, 0.5)]
    others = [Noted(loop=[block]) for block in blocks] + [Noted(threads=[(0.9, 2.0)])]
    assert _spans((0.9, 2.0), own, others) == [
        Span(0.9, 1.0, "waiting"),
        Span(1.0, 1.1, "running"),
        Span(1.1, 1.2, "waiting"),
        Span(1.2, 1.5, "blocked"),
        Span(1.5, 1.55, "waiting"),
        Span(1.55, 1.7, "thread"),
        Span(1.7, 1.8, "waiting"),
        Span(1.8, 1.9, "running"),
        Span(1.9, 2.0, "waiting"),
    ]


async def test_a_blocking_report_blocks_the_quotes_and_a_threaded_one_does_not() -> None:
    write_module("trace_test_app", APP)
    async with serving_app("trace_test_app:app", record=True) as desk:
        report, *quotes = await trace(desk, "/reports/blocking", "/quotes/A", "/quotes/B")
        assert [row.label for row in (report, *quotes)] == [
            "GET /reports/blocking",
            "GET /quotes/A",
            "GET /quotes/B",
        ]
        assert report.seconds("running") >= 0.3
        assert all(quote.seconds("blocked") > 0.15 for quote in quotes)
        report, *quotes = await trace(desk, "/reports/threaded", "/quotes/A", "/quotes/B")
        assert report.seconds("thread") > 0.2
        assert all(quote.seconds("blocked") == 0 for quote in quotes)
        with pytest.raises(ServingError, match="GET /nowhere was answered with 404, not 200"):
            await trace(desk, "/nowhere")


async def test_a_server_that_records_nothing_says_how_to_start_it() -> None:
    write_module("trace_test_app", APP)
    async with serving_app("trace_test_app:app") as desk:
        with pytest.raises(ServingError, match="Start it with record=True"):
            await trace(desk, "/quotes/A")
    with pytest.raises(ServingError, match="record=True needs workers=1"):
        await serving_app("trace_test_app:app", record=True, workers=2).start()


async def test_the_recorder_passes_values_errors_and_cancellation_through() -> None:
    seen: list[str] = []

    async def app(scope: object, receive: object, send: object) -> None:
        try:
            await asyncio.wait_for(asyncio.sleep(5), 0.01)
        except TimeoutError:
            seen.append("timed out")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    scope = {"type": "http", "path": "/", "headers": [(NUMBER_HEADER, b"1")]}
    task = asyncio.create_task(StepRecorder(app)(scope, None, None))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        while not seen:  # noqa: ASYNC110 - the wait is inside of what is tested
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["timed out", "cancelled"]
