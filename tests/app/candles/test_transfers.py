"""Candles in bulk over HTTP: every format, every bad row named, and nothing half done."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import gzip
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from deskbook.desk import RunningApp
from hypothesis import given
from hypothesis import strategies as st

from reference_app.candles.lines import (
    COLUMNS,
    CSV_HEADER,
    CandleIn,
    plain_csv,
    plain_json,
    read_csv,
    read_json,
)
from reference_app.candles.repository import EXPORT_CSV, EXPORT_FROM
from reference_app.candles.service import CandleService
from reference_app.patterns.jsonl_stream import BrokenOff, Incomplete, read_rows

URL = "/v1/candles"
GOOD = "FB,2013-03-04,27.5,28.1234,27,27.75,1000,27.75"


async def writer(desk: RunningApp) -> dict[str, str]:
    return await desk.sign_in("grace", scopes=["market:write"])


async def send(desk: RunningApp, body: str | bytes, kind: str = "text/csv") -> Any:
    headers = {**await writer(desk), "Content-Type": kind}
    return await desk.client.post(URL, content=body, headers=headers)


async def count(desk: RunningApp) -> int:
    return int((await desk.sql("SELECT count(*) FROM candles"))[0]["count"])


async def test_json_lines_and_csv_say_the_same_as_the_pages(desk: RunningApp) -> None:
    params = {"symbol": "FB", "start": "2012-06-01", "end": "2012-06-30"}
    pages = (await desk.client.get("/v1/instruments/FB/candles", params=params)).json()["items"]
    replies = {
        kind: await desk.client.get(URL, params=params, headers={"Accept": kind})
        for kind in ("application/json", "application/jsonl", "text/csv")
    }
    for kind, reply in replies.items():
        assert (reply.status_code, reply.headers["content-type"].partition(";")[0]) == (200, kind)
        assert "Accept" in reply.headers["vary"]
        assert reply.headers["cache-control"] == "private, no-store"
    expected = [{"symbol": "FB", **page} for page in pages]
    assert replies["application/json"].json() == {"items": expected}
    *lines, end = replies["application/jsonl"].text.splitlines()
    assert [json.loads(line) for line in lines] == expected
    assert json.loads(end) == {"end": {"rows": len(pages)}}
    rows = list(csv.DictReader(io.StringIO(replies["text/csv"].text)))
    assert rows == [{name: str(value) for name, value in row.items()} for row in expected]


async def test_an_export_of_everything_has_every_row_once(desk: RunningApp) -> None:
    reply = await desk.client.get(URL, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert len({(row["symbol"], row["date"]) for row in rows}) == len(rows) == 12_154
    assert list(rows[0]) == list(COLUMNS)


async def test_an_export_of_nothing_is_whole_too(desk: RunningApp) -> None:
    params = {"start": "1950-01-01", "end": "1950-12-31"}
    texts = []
    for kind in ("application/json", "application/jsonl", "text/csv"):
        texts.append((await desk.client.get(URL, params=params, headers={"Accept": kind})).text)
    assert texts == ['{"items":[]}', '{"end":{"rows":0}}\n', f"{CSV_HEADER}\n"]


async def test_gzip_where_the_client_takes_it(desk: RunningApp) -> None:
    params = {"symbol": "IBM"}
    headers = {"Accept": "text/csv", "Accept-Encoding": "gzip"}
    async with desk.client.stream("GET", URL, params=params, headers=headers) as reply:
        raw = b"".join([part async for part in reply.aiter_raw()])
    assert reply.headers["content-encoding"] == "gzip"
    plain = await desk.client.get(URL, params=params, headers={**headers, "Accept-Encoding": "identity"})
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 2
    assert "content-encoding" not in plain.headers


async def test_what_cannot_be_exported(desk: RunningApp) -> None:
    assert (await desk.client.get(URL, headers={"Accept": "text/html"})).status_code == 406
    assert (await desk.client.get(URL, params={"symbol": "NONE"})).status_code == 404
    assert (await desk.client.get(URL, params={"start": "yesterday"})).status_code == 422
    assert (await desk.client.get(URL, headers={"Authorization": ""})).status_code == 401
    head = await desk.client.head(URL, headers={"Accept": "text/csv"})
    assert (head.status_code, head.content) == (200, b"")


async def test_an_export_that_breaks_off_cannot_be_taken_for_the_whole(
    own_desk: RunningApp, monkeypatch: pytest.MonkeyPatch, ask_the_app: Any
) -> None:
    monkeypatch.setattr("reference_app.candles.service.EXPORT_PORTION", 5000)
    candles: Any = own_desk.state["services"][CandleService]
    sessions, opened = candles._sessions, 0

    def failing() -> Any:
        nonlocal opened
        opened += 1
        if opened == 3:
            raise ConnectionResetError
        return sessions()

    candles._sessions = failing
    for kind in ("application/jsonl", "text/csv"):
        opened = 0
        sent = bytearray()

        async def keep(message: Any, sent: bytearray = sent) -> None:
            sent.extend(message.get("body", b""))

        with pytest.raises(BrokenOff):
            await ask_the_app(own_desk, URL, kind, keep)
        assert sent


async def test_a_cut_stream_of_lines_has_no_end_mark(desk: RunningApp) -> None:
    reply = await desk.client.get(URL, params={"symbol": "FB"}, headers={"Accept": "application/jsonl"})

    async def cut() -> Any:
        for line in reply.text.splitlines()[:-1]:
            yield line

    with pytest.raises(Incomplete):
        async for _ in read_rows(cut()):
            pass


async def test_an_import_says_what_it_changed_and_again_changes_nothing(own_desk: RunningApp) -> None:
    body = f"{CSV_HEADER}\n{GOOD}\nAAPL,2013-03-04,1,2,0.5,1.5,10,1.123456789\n"
    reply = await send(own_desk, body)
    assert (reply.status_code, reply.json()) == (200, {"changed": 2, "bad_rows": []}), reply.text
    assert (await send(own_desk, body)).json() == {"changed": 0, "bad_rows": []}
    item = (await own_desk.client.get("/v1/instruments/FB/candles?start=2013-03-04")).json()["items"][0]
    assert (item["high"], item["volume"]) == ("28.1234", 1000)
    corrected = json.dumps(dict(zip(COLUMNS, GOOD.split(","), strict=True)) | {"volume": 2000})
    assert (await send(own_desk, corrected, "application/jsonl")).json() == {"changed": 1, "bad_rows": []}


def ten_thousand_days() -> str:
    days = [dt.date(1950, 1, 1) + dt.timedelta(days=day) for day in range(10_000)]
    return f"{CSV_HEADER}\n" + "".join(f"AAPL,{day},1,2,0.5,1.5,10,1.5\n" for day in days)


async def test_after_a_large_import_postgresql_knows_the_size_of_the_table(own_desk: RunningApp) -> None:
    assert (await send(own_desk, ten_thousand_days())).json() == {"changed": 10_000, "bad_rows": []}
    # What the plan of the next export starts from.
    assert await own_desk.sql("SELECT reltuples::int AS rows FROM pg_class WHERE relname = 'candles'") == [
        {"rows": 12_154 + 10_000}
    ]


async def test_a_large_import_does_not_wait_for_a_vacuum(own_desk: RunningApp) -> None:
    vacuum = await asyncpg.connect(own_desk.database_url)
    try:
        async with vacuum.transaction():
            await vacuum.execute("LOCK TABLE candles IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM does
            reply = await send(own_desk, ten_thousand_days())
    finally:
        await vacuum.close()
    assert (reply.status_code, reply.json()) == (200, {"changed": 10_000, "bad_rows": []})


async def test_an_export_reads_a_portion_once_even_with_nested_loops(own_desk: RunningApp) -> None:
    dates = dt.date(1900, 1, 1), dt.date(2100, 1, 1)
    connection = await asyncpg.connect(own_desk.database_url)
    try:
        await connection.execute(NEW_INSTRUMENTS)
        instrument = await connection.fetchval("SELECT id FROM instruments WHERE symbol = 'N150'")
        keys = (instrument, dates[0], instrument, dates[1])
        # What PostgreSQL now and again chose by itself, one export in five.
        await connection.execute("SET enable_mergejoin = off; SET enable_hashjoin = off")
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {EXPORT_CSV} {EXPORT_FROM}"
        plan = json.loads(await connection.fetchval(explain, *keys, *dates))[0]["Plan"]
    finally:
        await connection.close()
    assert plan["Actual Rows"] == 2_000
    assert [node["Actual Loops"] for node in scans(plan, "candles")] == [1]


#: A hundred with two thousand days each.
NEW_INSTRUMENTS = """
INSERT INTO instruments (symbol, name) SELECT 'N' || i, 'New' FROM generate_series(100, 199) i;
INSERT INTO candles (instrument_id, date, open, high, low, close, volume, adjusted_close)
SELECT i.id, '2000-01-01'::date + day, 1, 2, 0.5, 1.5, 10, 1.5
FROM instruments i, generate_series(1, 2000) day WHERE i.name = 'New';
ANALYZE candles;
"""


def scans(plan: dict[str, Any], table: str) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan that read this table."""
    if plan.get("Relation Name") == table:
        yield plan
    for part in plan.get("Plans", ()):
        yield from scans(part, table)


async def test_an_import_is_seen_in_the_aggregates_at_once(own_desk: RunningApp) -> None:
    url = "/v1/instruments/FB/aggregates/monthly/2013"
    before = (await own_desk.client.get(url)).json()["items"][-1]
    await send(own_desk, f"{CSV_HEADER}\n{GOOD}")
    after = (await own_desk.client.get(url)).json()["items"][-1]
    assert (before["days"], after["days"], after["close"]) == (1, 2, "27.7500")


BAD = [
    ("FB,2013-03-04,27.5,28.1,27,27.75,1000", "expected 8 values, found 7"),
    ("NONE,2013-03-04,27.5,28.1,27,27.75,1000,1", "there is no such instrument"),
    ("FB,2013-02-30,27.5,28.1,27,27.75,1000,1", "day"),
    ("FB,04.03.2013,27.5,28.1,27,27.75,1000,1", "expected a date such as"),
    ("FB,2013-03-05,27.5,28.12345,27,27.75,1000,1", "high: Value error, expected a decimal"),
    ("FB,2013-03-05,NaN,28.1,27,27.75,1000,1", "open: Value error"),
    ("FB,2013-03-05,27.5,26,27,27.75,1000,1", "high the highest"),
    ("FB,2013-03-05,0,28.1,0,27.75,1000,1", "above zero"),
    ("FB,2013-03-05,27.5,28.1,27,27.75,-1,1", "volume"),
    ("FB,2013-03-05,27.5,28.1,27,27.75,1.5,1", "volume"),
    ("FB,2013-03-05,27.5,28.1,27,27.75,1000,0", "above zero"),
    ("", "expected 8 values, found 0"),
    ('FB,"2013', "this is no CSV"),
    (b"\xff\xfe", "this is no UTF-8"),
    ("x" * 1025, "longer than 1024 bytes"),
    (GOOD, "UniqueViolationError"),
]


async def test_each_bad_row_is_named_and_the_good_ones_are_kept(own_desk: RunningApp) -> None:
    lines = [line if isinstance(line, bytes) else line.encode() for line, _ in BAD]
    body = b"\n".join([CSV_HEADER.encode(), GOOD.encode(), *lines, GOOD.replace("-04", "-06").encode()])
    reply = await send(own_desk, body)
    assert (reply.status_code, reply.json()["changed"]) == (200, 2), reply.text
    report = {bad["row"]: bad["reason"] for bad in reply.json()["bad_rows"]}
    assert sorted(report) == list(range(2, len(BAD) + 2))
    for number, (_, reason) in enumerate(BAD, start=2):
        assert reason in report[number], (number, report[number])
    assert "28.12345" not in reply.text  # no value is repeated


async def test_bad_lines_of_json(own_desk: RunningApp) -> None:
    good = dict(zip(COLUMNS, GOOD.split(","), strict=True)) | {"volume": 1000}
    bad = [
        ("{", "this is no JSON"),
        ("[" * 500, "this is no JSON"),
        ("[]", "dictionary"),
        (json.dumps(good | {"open": 27.5}), "open"),
        (json.dumps(good | {"volume": "1000"}), "volume"),
        (json.dumps(good | {"volume": True}), "volume"),
        (json.dumps(good | {"note": "x"}), "note"),
        (json.dumps({"symbol": "FB"}), "date: Field required"),
    ]
    reply = await send(own_desk, "\n".join(line for line, _ in bad), "application/jsonl")
    assert reply.json()["changed"] == 0, reply.text
    for row, (_, reason) in zip(reply.json()["bad_rows"], bad, strict=True):
        assert reason in row["reason"], row


async def test_mostly_bad_is_refused_as_a_whole_with_the_first_rows(own_desk: RunningApp) -> None:
    before = await count(own_desk)
    reply = await send(own_desk, "\n".join([CSV_HEADER, GOOD, *["nonsense"] * 200]))
    assert (reply.status_code, reply.json()["type"]) == (422, "/problems/import-rejected")
    assert len(reply.json()["bad_rows"]) == 101
    assert await count(own_desk) == before


async def test_what_is_no_import_at_all(own_desk: RunningApp) -> None:
    before = await count(own_desk)
    assert (await send(own_desk, GOOD)).status_code == 422  # no header
    assert (await send(own_desk, "")).status_code == 422
    assert (await send(own_desk, CSV_HEADER + "\n" + "x" * 5000)).status_code == 422
    assert (await send(own_desk, "{}", "application/json")).status_code == 415
    headers = {"Content-Type": "text/csv"}
    reply = await own_desk.client.post(URL, content=CSV_HEADER, headers=headers)
    assert (reply.status_code, reply.json()["type"]) == (403, "/problems/not-allowed")
    assert await count(own_desk) == before


async def test_one_import_at_a_time(own_desk: RunningApp) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def body() -> Any:
        yield f"{CSV_HEADER}\n{GOOD}\n".encode()
        begun.set()
        await may_end.wait()

    first = asyncio.create_task(send(own_desk, body()))  # type: ignore[arg-type]
    await begun.wait()
    second = await send(own_desk, CSV_HEADER)
    assert (second.status_code, second.json()["type"]) == (503, "/problems/transfer-busy")
    assert second.headers["retry-after"] == "1"
    may_end.set()
    assert (await first).json()["changed"] == 1


price = st.decimals(min_value=0, max_value=10**6, places=5).map(str) | st.sampled_from(
    ["1", "01", "1.", "-1", "1e3", " 1", "0", "0.0001", "1_0", "٣", "99999999999999.9999", "100000000000000"]
)


@given(
    st.tuples(
        st.sampled_from(["FB", "fb", "A" * 10, "A" * 11, "", "A B"]),
        st.dates().map(str) | st.sampled_from(["2013-2-1", "20130201", "2013-02-29"]),
        price,
        price,
        price,
        price,
        st.integers(-1, 10**19).map(str),
        price,
    )
)
def test_the_quick_way_and_the_model_accept_the_same(values: tuple[str, ...]) -> None:
    row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True)) | {"volume": int(values[6])}
    try:
        model: Any = CandleIn.model_validate(row)
    except ValueError:
        model = None
    for read, line in ((read_csv, ",".join(values)), (read_json, json.dumps(row))):
        try:
            record: Any = read(line)
        except ValueError:
            record = None
        assert (record is None) == (model is None), (record, model)
        if model is not None:
            plain = plain_csv(f"{','.join(values)}\n".encode())
            assert (
                plain_json(json.dumps(row).encode() + b"\n") == plain is not None
            )  # and the quickest way too
            assert record[2:] == (
                *(model.open, model.high, model.low, model.close),
                *(model.volume, Decimal(model.adjusted_close)),
            )
