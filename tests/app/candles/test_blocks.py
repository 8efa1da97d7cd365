"""Imports in blocks and exports in portions: the report does not know of them, and memory has a bound."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from deskbook.desk import RunningApp

from reference_app.candles.lines import (
    COLUMNS,
    CSV_HEADER,
    LINE_FORMATS,
    plain_csv,
    plain_json,
    read_candle,
    split_blocks,
)
from reference_app.candles.read_ahead import read_ahead
from reference_app.candles.service import CandleFormat, CandleService

URL = "/v1/candles"
LINE_BYTES = len("FB,2014-01-01,27.5,28.1234,27,27.75,1000,27.75\n")


def line(day: int) -> str:
    return f"FB,2014-{day // 28 + 1:02}-{day % 28 + 1:02},27.5,28.1234,27,27.75,1000,27.75"


async def body_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def send(desk: RunningApp, body: str, kind: str = "text/csv") -> Any:
    """Send a body in small pieces, which end anywhere in a line, as they do on a network."""
    headers = {**await desk.sign_in("grace", scopes=["market:write"]), "Content-Type": kind}
    raw = body.encode()
    pieces = body_of(*(raw[start : start + 37] for start in range(0, len(raw), 37)))
    return await desk.client.post(URL, content=pieces, headers=headers)


def with_bad_rows() -> list[str]:
    """Return 60 rows; of the first and the last of each block of ten, most are bad in some way."""
    lines = [line(day) for day in range(60)]
    lines[9] = lines[0]  # the day was in the same block
    lines[10] = lines[1]  # and in the block before
    lines[19] = lines[19].replace("28.1234", "26")  # only the constraint sees it
    lines[20] = lines[20].replace("2014-", "2014-02-31#")[:30]  # no line at all
    lines[29] = "NONE" + lines[29][2:]
    lines[30] = lines[30].replace("2014-02", "2014-00")  # only PostgreSQL sees it
    lines[59] = lines[59].replace("27.75", "0")
    return lines


BAD_ROWS = [10, 11, 20, 21, 30, 31, 60]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("block_bytes", [1, 10 * LINE_BYTES, 25 * LINE_BYTES, 1_000_000])
async def test_the_report_is_the_same_wherever_blocks_end(
    own_desk: RunningApp, monkeypatch: pytest.MonkeyPatch, block_bytes: int, newline: str
) -> None:
    monkeypatch.setattr("reference_app.candles.lines.BLOCK_BYTES", block_bytes)
    lines = with_bad_rows()
    reply = await send(own_desk, newline.join([CSV_HEADER, *lines]))
    assert reply.status_code == 200, reply.text
    report = {bad["row"]: bad["reason"] for bad in reply.json()["bad_rows"]}
    assert list(report) == BAD_ROWS
    assert [report[row].split()[0] for row in (10, 11, 30)] == ["UniqueViolationError"] * 2 + ["symbol:"]
    saved = await own_desk.sql("SELECT date::text AS day FROM candles WHERE date >= '2014-01-01'")
    good = [row.split(",")[1] for number, row in enumerate(lines, 1) if number not in BAD_ROWS]
    assert sorted(row["day"] for row in saved) == good
    assert reply.json()["changed"] == len(good)


async def test_good_blocks_are_not_looked_at_row_by_row(
    own_desk: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference_app.candles.lines.BLOCK_BYTES", 10 * LINE_BYTES)
    looked_at: list[bytes] = []

    def noting(line: bytes, *more: Any) -> Any:
        looked_at.append(line)
        return read_candle(line, *more)

    monkeypatch.setattr("reference_app.candles.upload.read_candle", noting)
    lines = [line(day) for day in range(40)]
    lines[25] = "nonsense"
    rows = "\n".join(
        json.dumps(dict(zip(COLUMNS, text.split(","), strict=True)) | {"volume": 1000})
        for text in lines
        if text != "nonsense"
    )
    assert (await send(own_desk, rows, "application/jsonl")).json() == {"changed": 39, "bad_rows": []}
    assert looked_at == []
    reply = await send(own_desk, "\n".join([CSV_HEADER, *lines]))
    assert [bad["row"] for bad in reply.json()["bad_rows"]] == [26]
    assert looked_at
    assert len(looked_at) < len(lines), "only the block of the bad row"


async def test_an_unknown_instrument_is_reported_where_all_else_is_well(own_desk: RunningApp) -> None:
    reply = await send(own_desk, "\n".join([CSV_HEADER, line(0), "NONE" + line(1)[2:], line(2)]))
    report = [(bad["row"], bad["reason"]) for bad in reply.json()["bad_rows"]]
    assert report == [(2, "symbol: there is no such instrument")]
    assert reply.json()["changed"] == 2


async def test_too_many_bad_rows_over_several_blocks(
    own_desk: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference_app.candles.lines.BLOCK_BYTES", 200)
    rows = [row for day in range(150) for row in (line(day), "nonsense")]
    reply = await send(own_desk, "\n".join([CSV_HEADER, *rows]))
    assert (reply.status_code, reply.json()["detail"]) == (
        422,
        "More than 100 rows are bad; nothing was copied.",
    )
    assert [bad["row"] for bad in reply.json()["bad_rows"]] == list(range(2, 204, 2))
    assert await own_desk.sql("SELECT FROM candles WHERE date >= '2014-01-01'") == []


async def test_blocks_are_whole_lines_and_all_of_them() -> None:
    text = b"".join(b"%d,some line\n" % number for number in range(500)) + b"without an end"
    for size in (1, 7, 100, 10_000):
        chunks = [text[start : start + size] for start in range(0, len(text), size)]
        blocks = [block async for block in split_blocks(body_of(*chunks))]
        assert b"".join(blocks) == text + b"\n"
        assert all(block.endswith(b"\n") for block in blocks)


@pytest.mark.parametrize(
    "text",
    ["FB,2014-01-02,1,2,1,2,5,1\n", '{"symbol":"FB"}\n', "\n", '{"symbol":"FB,1","date":"2014-01-02"}\n'],
)
def test_lines_of_csv_are_no_lines_of_json(text: str) -> None:
    assert LINE_FORMATS[CandleFormat.JSON].plain(text.encode()) is plain_json(text.encode()) is None
    assert LINE_FORMATS[CandleFormat.CSV].plain(text.encode()) == plain_csv(text.encode())


async def test_no_more_than_two_portions_are_read_while_the_client_does_not() -> None:
    read_so_far, may_read = 0, asyncio.Event()

    async def read(number: int) -> tuple[bytes, int | None]:
        nonlocal read_so_far
        read_so_far += 1
        may_read.set()
        return b"%d" % number, number + 1 if number < 9 else None

    portions = read_ahead(read, 0)
    for taken in range(1, 5):
        assert await anext(portions) == b"%d" % (taken - 1)
        await asyncio.wait_for(may_read.wait(), 5)
        for _ in range(10):  # whatever can run has run
            await asyncio.sleep(0)
        assert read_so_far == taken + 1
    assert [portion async for portion in portions] == [b"%d" % number for number in range(4, 10)]


async def test_an_error_of_a_portion_that_nobody_asks_for_is_not_reported() -> None:
    has_failed = asyncio.Event()
    reported: list[Any] = []

    async def read(number: int) -> tuple[bytes, int | None]:
        if number:
            has_failed.set()
            raise ConnectionResetError
        return b"0", 1

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        portions = read_ahead(read, 0)
        assert await anext(portions) == b"0"
        await asyncio.wait_for(has_failed.wait(), 5)
        await portions.aclose()
        del portions
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert not reported


async def test_a_client_that_does_not_read_stops_the_export(
    own_desk: RunningApp, monkeypatch: pytest.MonkeyPatch, ask_the_app: Any
) -> None:
    monkeypatch.setattr("reference_app.candles.service.EXPORT_PORTION", 500)  # of 12,154 rows
    candles: Any = own_desk.state["services"][CandleService]
    sessions, opened = candles._sessions, 0

    def counting() -> Any:
        nonlocal opened
        opened += 1
        return sessions()

    candles._sessions = counting
    stopped, go_on, sent = asyncio.Event(), asyncio.Event(), bytearray()

    async def send_slowly(message: Any) -> None:
        sent.extend(message.get("body", b""))
        if message["type"] == "http.response.body" and not go_on.is_set():
            stopped.set()
            await go_on.wait()

    export = asyncio.create_task(ask_the_app(own_desk, URL, "text/csv", send_slowly))
    await asyncio.wait_for(stopped.wait(), 10)
    pool: Any = own_desk.state["engine"].pool
    async with asyncio.timeout(10):
        while pool.checkedout():  # the portion that is read ahead
            await own_desk.sql("SELECT 1")  # each question gives it time
    assert opened == 2
    assert sent.count(b"\n") <= 2 * 500 + 1
    go_on.set()
    await export
    assert sent.count(b"\n") == 12_154 + 1
    assert opened == 25
