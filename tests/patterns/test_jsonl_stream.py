"""What arrives whole says so, what was cut does not, memory stays flat, and the rows are closed."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import functools
import inspect
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from reference_app.patterns.jsonl_stream import (
    BrokenOff,
    Incomplete,
    JsonLines,
    encode_row,
    open_stream,
    read_rows,
)

Make = Callable[..., JsonLines]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Table:
    """Rows, and how many were read and whether the reading was closed."""

    def __init__(self, count: int, fails_at: int = -1) -> None:
        self.count, self.fails_at = count, fails_at
        self.read = 0
        self.closed = False

    async def __call__(self) -> AsyncGenerator[dict[str, int], None]:
        try:
            for number in range(self.count):
                if number == self.fails_at:
                    raise ConnectionError("the database went away")
                self.read += 1
                yield {"row": number}
        finally:
            await asyncio.sleep(0)  # the connection goes back
            self.closed = True


class Client:
    """Takes what is sent, or leaves; `version` says how the server tells the app."""

    def __init__(self, version: str, leaves_after: int = 1_000_000_000) -> None:
        self.version, self.leaves_after = version, leaves_after
        self.chunks: list[bytes] = []
        self.ready, self.left = asyncio.Event(), asyncio.Event()
        self.ready.set()
        self.whole = False

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            await self.ready.wait()
        if len(self.chunks) >= self.leaves_after:
            self.left.set()
            if self.version == "2.4":
                raise OSError("the client has gone")
            await asyncio.Event().wait()
        if message["type"] == "http.response.body":
            self.chunks.append(message["body"])
            self.whole = not message["more_body"]

    async def get(self, response: Any) -> None:
        async with asyncio.timeout(10):
            await response({"type": "http", "asgi": {"spec_version": self.version}}, self.receive, self.send)

    async def rows(self, reader: Any = read_rows) -> list[Any]:
        async def lines() -> AsyncGenerator[bytes, None]:
            for line in b"".join(self.chunks).splitlines():
                yield line

        return [row async for row in reader(lines())]


async def response_of(make: Make, rows: AsyncGenerator[Any, None], chunk_bytes: int = 64) -> JsonLines:
    first = await anext(rows, None)
    response = make(rows, first, chunk_bytes, encode_row)
    assert isinstance(response, JsonLines)
    return response


# Each check is a rule, and a wrong twin further down (the pattern with one mistake) breaks it.


async def check_that_a_cut_stream_is_not_whole(make: Make) -> None:
    table, client = Table(100, fails_at=50), Client("2.4")
    with pytest.raises(BrokenOff, match="after 50"):
        await client.get(await response_of(make, table()))
    assert not client.whole, "the server was told that all was sent"
    with pytest.raises(Incomplete):
        await client.rows()
    assert table.closed


async def check_that_a_client_who_leaves_closes_the_rows(make: Make) -> None:
    for version in ("2.3", "2.4"):
        table, client = Table(1000), Client(version, leaves_after=3)
        response = await response_of(make, table())
        with contextlib.suppress(ClientDisconnect):
            await client.get(response)
        assert table.closed, "the rows hold their connection"
        assert not response.complete
        assert table.read < 1000


async def check_that_a_slow_client_slows_the_reading(make: Make) -> None:
    table, client = Table(10_000), Client("2.4")
    client.ready.clear()
    sending = asyncio.create_task(client.get(await response_of(make, table())))
    await settle()
    assert table.read < 20, "rows pile up in memory"
    client.ready.set()
    await sending
    assert max(map(len, client.chunks)) < 64 + 30
    assert await client.rows() == [{"row": number} for number in range(10_000)]


async def check_that_others_have_their_turn(make: Make) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    client, task = Client("2.4"), asyncio.create_task(other())
    await client.get(await response_of(make, Table(1000)()))
    task.cancel()
    assert turns > 50, "the stream held the loop"


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(JsonLines))


class MarksInFinally(JsonLines):
    """Wrong: the mark of a whole stream is written even where the stream has broken off."""

    async def _chunks(self) -> Any:
        try:
            async for chunk in super()._chunks():
                yield chunk
        except BrokenOff:
            yield json.dumps({"end": {"rows": self.rows}}).encode() + b"\n"


class TrustsStarlette(JsonLines):
    """Wrong: a database that goes away raises an OSError, which looks like a client that has left."""

    async def _chunks(self) -> Any:
        try:
            async for chunk in super()._chunks():
                yield chunk
        except BrokenOff as error:
            raise ConnectionError from error


class LeftToTheCollector(JsonLines):
    """Wrong: as Starlette does; the generator and its connection stay until they are collected."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await super(JsonLines, self).__call__(scope, receive, send)


class ReadsAhead(JsonLines):
    """Wrong: a task reads into a queue without a bound, so that the database is done sooner."""

    async def _chunks(self) -> Any:
        rows = [self._first, *[row async for row in self._source]]
        for row in rows:
            yield self._encode(row) + b"\n"
        yield json.dumps({"end": {"rows": len(rows)}}).encode() + b"\n"


class HoldsTheLoop(JsonLines):
    """Wrong: with rows in memory and a quick client nothing in the loop ever waits."""

    async def _chunks(self) -> Any:
        yield self._encode(self._first) + b"\n"
        async for row in self._source:
            yield self._encode(row) + b"\n"


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (MarksInFinally, check_that_a_cut_stream_is_not_whole),
        (TrustsStarlette, check_that_a_cut_stream_is_not_whole),
        (LeftToTheCollector, check_that_a_client_who_leaves_closes_the_rows),
        (ReadsAhead, check_that_a_slow_client_slows_the_reading),
        (HoldsTheLoop, check_that_others_have_their_turn),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Make, check: Callable[[Make], Awaitable[None]]) -> None:
    with pytest.raises((AssertionError, ClientDisconnect, pytest.fail.Exception)):
        asyncio.run(check(twin))


async def rows_of(text: str, reader: Any = read_rows) -> list[Any]:
    client = Client("2.4")
    client.chunks = [text.encode()]
    return await client.rows(reader)


async def naive_reader(lines: Any) -> AsyncGenerator[Any, None]:
    """Wrong: it stops at the first line that looks like an end."""
    async for line in lines:
        row = json.loads(line)
        if set(row) == {"end"}:
            return
        yield row
    raise Incomplete


LOOKS_LIKE_AN_END = '{"end": "2013-02-08"}\n{"row": 1}\n{"end": {"rows": 2}}\n'


def test_a_row_may_look_like_the_end_mark() -> None:
    expected = [{"end": "2013-02-08"}, {"row": 1}]
    assert asyncio.run(rows_of(LOOKS_LIKE_AN_END)) == expected
    assert asyncio.run(rows_of(LOOKS_LIKE_AN_END, naive_reader)) != expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"row": 1}\n',
        '{"row": 1}\n{"end": {"rows": 2}}\n',
        '{"end": {"rows": 1}}\n',
        '{"row": 1}\n{"end": {"ro',
        '{"row": 1}\n"end"\n',
        "<html>502 Bad Gateway\n</html>\n",
        '{"row": 1}\n\n{"end": {"rows": 1}}\n',
        '{"row": 1}\n{"end": {"rows": 1}, "more": 1}\n',
        '{"row": 1}\n[]\n',
    ],
)
def test_what_is_not_whole_is_told(text: str) -> None:
    with pytest.raises(Incomplete):
        asyncio.run(rows_of(text))


def test_what_fails_before_the_first_row_is_an_error_and_no_response() -> None:
    table = Table(5, fails_at=0)
    with pytest.raises(ConnectionError):
        asyncio.run(open_stream(table()))  # type: ignore[arg-type]
    assert table.closed


@in_a_loop
async def test_an_empty_stream_is_whole_and_knows_its_size() -> None:
    client = Client("2.4")
    response = await open_stream(Table(0)())
    await client.get(response)
    assert (await client.rows(), client.whole) == ([], True)
    assert (response.rows, response.size_bytes, response.complete) == (0, 19, True)
    assert response.headers["content-type"] == "application/jsonl"


@in_a_loop
async def test_a_slow_source_can_send_each_row_at_once() -> None:
    client = Client("2.4")
    await client.get(await open_stream(Table(3)(), chunk_bytes=0))
    assert [len(chunk.splitlines()) for chunk in client.chunks] == [1, 1, 1, 1, 0]


def test_a_row_keeps_its_digits_and_stays_one_line() -> None:
    assert encode_row({"price": Decimal("0.10"), "note": "a\nb\u2028c"}).count(b"\n") == 0
    assert json.loads(encode_row({"price": Decimal("0.10")})) == {"price": "0.10"}
    assert encode_row({"price": float("nan")}) == b'{"price":null}'


#: Where Python's `splitlines` ends a line, and so httpx; most are escaped by every JSON encoder.
ENDS_OF_LINES = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def raw_rows(rows: list[Any]) -> bytes:
    """Encode many rows at once, with no more escapes than JSON asks for."""
    return "\n".join(json.dumps(it, ensure_ascii=False) for it in rows).encode()


@pytest.mark.parametrize("encode", [encode_row, raw_rows])
@in_a_loop
async def test_a_row_with_any_end_of_line_comes_back_whole_through_a_reader_that_splits_at_all(
    encode: Any,
) -> None:
    sent = [{"note": f"first{mark}second", mark: [mark]} for mark in (*ENDS_OF_LINES, ENDS_OF_LINES)]

    async def source() -> AsyncGenerator[Any, None]:
        for row in sent:
            yield row if encode is encode_row else [row, row]

    response = await open_stream(source(), encode=encode)
    text = b"".join([chunk async for chunk in response.body_iterator]).decode()  # type: ignore[misc, union-attr]

    async def lines() -> AsyncGenerator[str, None]:
        for line in text.splitlines():
            yield line

    expected = sent if encode is encode_row else [row for row in sent for _ in range(2)]
    assert [row async for row in read_rows(lines())] == expected
    assert response.rows == len(expected)


@in_a_loop
async def test_a_cancelled_response_closes_the_rows() -> None:
    table, client = Table(1000), Client("2.4")
    client.ready.clear()
    task = asyncio.create_task(client.get(await open_stream(table())))
    await settle()
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), table.closed) == (True, True)


def test_the_size_of_a_chunk_is_64_kib_unless_told() -> None:
    assert inspect.signature(open_stream).parameters["chunk_bytes"].default == 64 * 1024


@pytest.mark.parametrize(
    ("chunk_bytes", "sizes"), [(9, [9, 9, 19]), (10, [18, 19]), (18, [18, 19]), (19, [37])]
)
@in_a_loop
async def test_a_chunk_is_sent_as_soon_as_it_is_full(chunk_bytes: int, sizes: list[int]) -> None:
    async def source() -> AsyncGenerator[Any, None]:
        yield {"a": 10}
        yield {"a": 20}

    response = await open_stream(source(), chunk_bytes=chunk_bytes)
    assert [len(it) async for it in response.body_iterator] == sizes
    assert (response.size_bytes, response.rows) == (sum(sizes), 2)


@in_a_loop
async def test_a_response_that_was_broken_off_leaves_no_generator_behind() -> None:
    table, client = Table(1000), Client("2.4")
    client.ready.clear()
    response = await open_stream(table(), chunk_bytes=0)
    task = asyncio.create_task(client.get(response))
    await settle()
    task.cancel()
    await asyncio.wait([task])
    lines: Any = response.body_iterator
    assert lines.ag_frame is None
    assert table.closed


@in_a_loop
async def test_rows_that_are_encoded_together_are_counted_one_by_one() -> None:
    async def source() -> AsyncGenerator[Any, None]:
        yield [{"a": 1}, {"a": 2}, {"a": 3}]
        yield [{"a": 4}]

    response = await open_stream(source(), encode=raw_rows)
    text = b"".join([chunk async for chunk in response.body_iterator]).decode()  # type: ignore[misc]
    assert (response.rows, json.loads(text.splitlines()[-1])) == (4, {"end": {"rows": 4}})


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[JsonLines.__module__]).failed == 0
