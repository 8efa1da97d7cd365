"""Requests that run at the same time keep their ids apart, and a client's id cannot forge a log line."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import functools
import logging
import re
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from reference_app.patterns.correlation_id import (
    CorrelationId,
    IdFilter,
    current_id,
    new_id,
    outgoing_headers,
)

Headers = list[tuple[bytes, bytes]]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


async def request(app: Any, *ids: str, kind: str = "http") -> Headers:
    """Send a request whose header comes once for each id, and return the headers of the reply."""
    started: list[Headers] = []

    async def send(message: Any) -> None:
        if "headers" in message:
            started.append(message["headers"])

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"x-request-id", it.encode("latin-1")) for it in ids]
    await app({"type": kind, "headers": [(b"accept", b"*/*"), *headers]}, receive, send)
    assert len(started) <= 1
    return started[0] if started else []


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def sent_back(headers: Headers) -> str:
    [value] = [value for name, value in headers if name == b"x-request-id"]
    return value.decode()


Build = Callable[..., Any]

# Each check is a rule, and a wrong twin further down (the pattern with one mistake) breaks it.


async def check_that_requests_at_the_same_time_keep_their_ids(build: Build) -> None:
    all_are_in = asyncio.Barrier(3)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        before = current_id()
        await all_are_in.wait()
        assert current_id() == before, "the id of another request"
        await ok(scope, receive, send)

    wrapped = build(app)
    replies = await asyncio.gather(*(request(wrapped, it) for it in ("a-1", "b-2", "c-3")))
    assert [sent_back(it) for it in replies] == ["a-1", "b-2", "c-3"]


async def check_that_no_id_can_write_into_the_log(build: Build) -> None:
    forgeries = ["1\r\nSet-Cookie: a=b", "x\nERROR paid twice", "order-7\n", "a b", "\x1b[2K", "", "x" * 129]
    for forged in [*forgeries, "naïve"]:
        assert re.fullmatch("[0-9a-f]{32}", sent_back(await request(build(ok), forged))), forged


async def check_that_nothing_stays_behind(build: Build) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError

    for app in (ok, broken):
        for id_ in ("first", "second"):
            with contextlib.suppress(LookupError):
                await request(build(app), id_)
            assert current_id() == "", "the id of a request that is over"


async def check_that_the_reply_has_it_once(build: Build) -> None:
    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Request-ID", b"of-the-service-behind"), (b"vary", b"accept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    assert await request(build(proxy), "mine") == [(b"vary", b"accept"), (b"x-request-id", b"mine")]


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Build], Awaitable[None]]) -> None:
    asyncio.run(check(CorrelationId))


class InAnAttribute(CorrelationId):
    """Wrong: the middleware is one object for all requests."""

    id_ = ""

    def _choose(self, scope: Any) -> str:
        self.id_ = super()._choose(scope)
        return self.id_

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_last(message: Any) -> None:
            if "headers" in message:
                message["headers"] = [(b"x-request-id", self.id_.encode())]
            await send(message)

        await super().__call__(scope, receive, send_last)


class TakesAnything(CorrelationId):
    """Wrong: what the client sent goes into the log and the reply as it is."""

    def _choose(self, scope: Any) -> str:
        return str(dict(scope["headers"])[b"x-request-id"].decode("latin-1", "replace"))


class MatchesTheBeginning(CorrelationId):
    r"""Wrong: `$` is content with a line end behind it, and `\w` with letters that no header takes."""

    def _choose(self, scope: Any) -> str:
        given = str(dict(scope["headers"])[b"x-request-id"].decode("latin-1"))
        return given if re.match(r"[\w.-]{1,128}$", given) else new_id()


class Sets:
    """Wrong: the id is set and never reset; the test client's next request, or a second app, inherits it."""

    def __init__(self, app: Any) -> None:
        async def keeps(scope: Any, receive: Any, send: Any) -> None:
            self.kept = current_id()
            await app(scope, receive, send)

        self.app = CorrelationId(keeps)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        variable = sys.modules[CorrelationId.__module__].__dict__["_current"]
        try:
            await self.app(scope, receive, send)
        finally:
            variable.set(self.kept)


class Appends(CorrelationId):
    """Wrong: the reply of a service behind keeps its own id, and the client gets two."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def append(message: Any) -> None:
            if "headers" in message:
                message["headers"] = [(b"x-request-id", b"of-the-service-behind"), *message["headers"]]
            await send(message)

        await super().__call__(scope, receive, append)


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (InAnAttribute, check_that_requests_at_the_same_time_keep_their_ids),
        (TakesAnything, check_that_no_id_can_write_into_the_log),
        (MatchesTheBeginning, check_that_no_id_can_write_into_the_log),
        (Sets, check_that_nothing_stays_behind),
        (Appends, check_that_the_reply_has_it_once),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Build, check: Callable[[Build], Awaitable[None]]) -> None:
    with pytest.raises((AssertionError, UnicodeEncodeError)):
        asyncio.run(check(twin))


def test_it_counts_what_it_took_made_and_refused() -> None:
    counts = Counter[str]()
    app = CorrelationId(ok, counts=counts)
    for ids in (("one",), (), ("two",), ("not valid",), ("one", "two")):
        asyncio.run(request(app, *ids))
    assert counts == {"accepted": 2, "made": 3, "refused": 2}


def test_at_the_edge_the_client_has_no_say() -> None:
    counts = Counter[str]()
    reply = asyncio.run(request(CorrelationId(ok, trust_client=False, counts=counts), "mine"))
    assert sent_back(reply) != "mine"
    assert +counts == {"made": 1}


def test_a_header_of_another_name() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert outgoing_headers("X-Correlation-ID") == {"X-Correlation-ID": current_id()}
        await ok(scope, receive, send)

    reply = dict(asyncio.run(request(CorrelationId(app, header="X-Correlation-ID"), "other header")))
    assert len(reply[b"x-correlation-id"]) == 32
    assert outgoing_headers() == {}


def test_tasks_and_threads_of_a_request_have_its_id() -> None:
    seen: list[str] = []

    async def note() -> None:
        seen.append(current_id())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(note())
        seen.append(await asyncio.to_thread(current_id))

    asyncio.run(request(CorrelationId(app), "order-7"))
    assert seen == ["order-7", "order-7"]


def test_every_record_of_a_handler_has_the_id_and_one_that_was_handed_over_stays() -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(handler.format(record))  # type: ignore[method-assign]
    handler.addFilter(IdFilter())
    handler.setFormatter(logging.Formatter("%(correlation_id)s %(name)s"))
    parent, child = logging.getLogger("desk_7"), logging.getLogger("desk_7.orders")
    parent.addHandler(handler)
    parent.propagate = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        child.warning("placed")
        parent.warning("filled", extra={"correlation_id": "of the job"})

    try:
        asyncio.run(request(CorrelationId(app), "order-7"))
        parent.warning("outside")
    finally:
        parent.removeHandler(handler)
    assert lines == ["order-7 desk_7.orders", "of the job desk_7", "- desk_7"]


def test_the_traceback_of_an_error_names_the_request() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("no shares")

    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(request(CorrelationId(app), "order-7"))
    assert traceback.format_exception(caught.value)[-1] == "correlation id: order-7\n"


@in_a_loop
async def test_a_cancelled_request_is_cancelled_and_its_id_is_gone() -> None:
    inside = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.set()
        await asyncio.Event().wait()

    async def caller() -> None:
        try:
            await request(CorrelationId(app), "order-7")
        finally:
            assert current_id() == ""

    task = asyncio.create_task(caller())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_websocket_gets_it_with_its_handshake_and_a_lifespan_has_none() -> None:
    async def accept(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept", "headers": []})
        await send({"type": "websocket.close"})

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        assert current_id() == ""

    assert sent_back(asyncio.run(request(CorrelationId(accept), "quotes-1", kind="websocket"))) == "quotes-1"
    asyncio.run(request(CorrelationId(lifespan), kind="lifespan"))


@pytest.mark.parametrize("kind", ["lifespan", "something new"])
def test_what_is_no_request_passes_as_it_is(kind: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], receive, current_id()))

    asyncio.run(CorrelationId(app)({"type": kind}, "receive", None))  # type: ignore[arg-type]
    assert seen == [(kind, "receive", "")]


def test_a_refused_websocket_gets_it_with_its_refusal() -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})

    assert sent_back(asyncio.run(request(CorrelationId(refuse), "quotes-1", kind="websocket"))) == "quotes-1"


def test_the_header_may_be_left_out_of_a_reply_and_is_sent_all_the_same() -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})

    assert sent_back(asyncio.run(request(CorrelationId(bare), "order-7"))) == "order-7"


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[CorrelationId.__module__]).failed == 0
