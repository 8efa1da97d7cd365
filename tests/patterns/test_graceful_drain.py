"""Nothing is refused during the notice, streams end after it, and the end waits for work."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import functools
import inspect
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from reference_app.patterns.graceful_drain import Drain

Make = Callable[..., Drain]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Quotes:
    """A stream that yields each quote put into its queue, and notes whether it was closed."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.closed = False

    async def __call__(self) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield await self.queue.get()
        finally:
            await asyncio.sleep(0)  # It stands for giving a connection back.
            self.closed = True


async def collect(drain: Drain, quotes: Quotes, into: list[str], sending: asyncio.Event) -> None:
    async with contextlib.aclosing(drain.until(quotes())) as stream:
        async for quote in stream:
            await sending.wait()
            into.append(quote)


# Each check is a rule, and a wrong twin further down (the pattern with one mistake) breaks it.


async def check_that_a_stream_that_waits_ends_and_closes(make: Make) -> None:
    drain, quotes, seen, sending = make(notice_s=0), Quotes(), list[str](), asyncio.Event()
    sending.set()
    quotes.queue.put_nowait("AAPL")
    stream = asyncio.create_task(collect(drain, quotes, seen, sending))
    await settle()
    drain.begin()
    await asyncio.wait_for(stream, 1)
    assert (seen, quotes.closed, drain.interrupted) == (["AAPL"], True, 1)


async def check_that_what_is_being_sent_is_sent(make: Make) -> None:
    drain, quotes, seen, sending = make(notice_s=0), Quotes(), list[str](), asyncio.Event()
    quotes.queue.put_nowait("AAPL")
    stream = asyncio.create_task(collect(drain, quotes, seen, sending))
    await settle()
    drain.begin()
    await settle()
    assert not stream.done(), "cut off in the middle of a message"
    sending.set()
    await asyncio.wait_for(stream, 1)
    assert (seen, quotes.closed) == (["AAPL"], True)


async def check_that_all_goes_on_during_the_notice(make: Make) -> None:
    told: list[str] = []
    drain, quotes, seen = make(notice_s=60, on_begin=lambda: told.append("not ready")), Quotes(), list[str]()
    sending = asyncio.Event()
    sending.set()
    stream = asyncio.create_task(collect(drain, quotes, seen, sending))
    await settle()
    drain.begin()
    drain.begin()
    quotes.queue.put_nowait("AAPL")
    await settle()
    assert (told, seen, stream.done()) == (["not ready"], ["AAPL"], False)
    drain.begin(0)  # a second call may shorten the notice
    await asyncio.wait_for(stream, 1)
    assert told == ["not ready"]


async def check_that_a_cancelled_stream_is_cancelled(make: Make) -> None:
    drain, quotes = make(notice_s=0), Quotes()
    stream = asyncio.create_task(collect(drain, quotes, [], asyncio.Event()))
    await settle()
    stream.cancel()
    drain.begin()
    await asyncio.wait([stream], timeout=1)
    assert stream.cancelled(), "the end of the service hides that the client has gone"
    assert quotes.closed


async def check_that_a_timeout_of_the_stream_is_its_own(make: Make) -> None:
    async def impatient() -> AsyncGenerator[str, None]:
        raise TimeoutError("the exchange is slow")
        yield ""

    drain = make(notice_s=0)
    with pytest.raises(TimeoutError, match="exchange"):
        await anext(drain.until(impatient()))


async def check_that_the_end_waits_for_work(make: Make) -> None:
    drain, may_end, order = make(notice_s=0), asyncio.Event(), list[str]()

    async def request() -> None:
        with drain.work():
            await may_end.wait()
            order.append("done")

    async def service() -> None:
        async with drain:
            await settle()
        order.append("closed")

    tasks = [asyncio.create_task(request()), asyncio.create_task(service())]
    await settle()
    await settle()
    assert order == []
    may_end.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 1)
    assert (order, drain.running) == (["done", "closed"], 0)


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Callable[[Make], Awaitable[None]]) -> None:
    asyncio.run(check(Drain))


class LooksBetweenItems(Drain):
    """Wrong: a stream without a next item never looks."""

    async def until(self, items: Any) -> Any:
        async for item in items:
            if self.ending:
                return
            yield item


class AroundTheWholeStream(Drain):
    """Wrong: a timeout around `yield` also cancels what the consumer is doing with the item."""

    async def until(self, items: Any) -> Any:
        self._waits[wait := asyncio.timeout(None)] = asyncio.current_task()
        with contextlib.suppress(TimeoutError):
            async with contextlib.aclosing(items), wait:
                async for item in items:
                    yield item
        self.interrupted += 1


class EndsAtOnce(Drain):
    """Wrong: the client of a stream comes back at once, and the balancer sends it here again."""

    def begin(self, notice_s: float | None = None) -> None:
        super().begin(0)


class CatchesCancellations(Drain):
    """Wrong: every cancellation is taken for the end of the service."""

    async def until(self, items: Any) -> Any:
        try:
            async for item in super().until(items):
                yield item
        except asyncio.CancelledError:
            return


class EveryTimeoutIsTheEnd(Drain):
    """Wrong: the exchange was slow, and the stream ends as if all were well."""

    async def until(self, items: Any) -> Any:
        with contextlib.suppress(TimeoutError):
            async for item in super().until(items):
                yield item


class WaitsForNobody(Drain):
    """Wrong: the server waits for requests, but not for the work that they have started."""

    async def __aexit__(self, *exc_info: object) -> None:
        self.begin(0)


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (LooksBetweenItems, check_that_a_stream_that_waits_ends_and_closes),
        (AroundTheWholeStream, check_that_what_is_being_sent_is_sent),
        (EndsAtOnce, check_that_all_goes_on_during_the_notice),
        (CatchesCancellations, check_that_a_cancelled_stream_is_cancelled),
        (EveryTimeoutIsTheEnd, check_that_a_timeout_of_the_stream_is_its_own),
        (WaitsForNobody, check_that_the_end_waits_for_work),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Make, check: Callable[[Make], Awaitable[None]]) -> None:
    with pytest.raises((AssertionError, TimeoutError, StopAsyncIteration, asyncio.CancelledError)):
        asyncio.run(check(twin))


@in_a_loop
async def test_a_stream_that_begins_too_late_is_empty_and_closed() -> None:
    drain, quotes = Drain(notice_s=0), Quotes()
    drain.begin()
    await settle()
    assert [it async for it in drain.until(quotes())] == []
    assert drain.ending


@in_a_loop
async def test_a_stream_that_ends_by_itself_ends() -> None:
    async def three() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number

    assert [it async for it in Drain().until(three())] == [0, 1, 2]


@in_a_loop
async def test_a_service_that_is_opened_again_serves_again() -> None:
    drain, quotes = Drain(notice_s=60), Quotes()
    async with drain:
        pass
    assert drain.ending
    async with drain:
        quotes.queue.put_nowait("AAPL")
        stream = drain.until(quotes())
        assert await asyncio.wait_for(anext(stream), 1) == "AAPL"
        await settle()
        assert not drain.draining
        await stream.aclose()


@in_a_loop
async def test_work_that_does_not_end_is_given_up() -> None:
    drain = Drain(notice_s=0, finish_s=0.01)
    with drain.work():
        async with drain:
            pass
        assert drain.running == 1


@in_a_loop
async def test_requests_are_counted_and_replies_close_the_connection_while_it_drains() -> None:
    drain = Drain(notice_s=60)
    seen: list[tuple[int, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"vary", b"accept")]})

    async def send(message: Any) -> None:
        seen.append((drain.running, message["headers"]))

    wrapped = drain.middleware(app)
    for version in ("1.1", "2"):
        await wrapped({"type": "http", "http_version": version}, None, send)
    drain.begin()
    for version in ("1.1", "2"):
        await wrapped({"type": "http", "http_version": version}, None, send)
    await wrapped({"type": "lifespan"}, None, send)
    vary = (b"vary", b"accept")
    closing = [vary, (b"connection", b"close")]
    assert seen == [(1, [vary]), (1, [vary]), (1, closing), (1, [vary]), (0, closing)]
    assert drain.running == 0


@contextlib.contextmanager
def server() -> Iterator[list[int]]:
    """Set the handlers that a server sets before it starts the lifespan; these note the signals."""
    got: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, frame: got.append(number)) for number in numbers}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_server_hears_of_sigterm_after_the_notice_and_of_a_second_one_at_once() -> None:
    async def main(got: list[int]) -> None:
        handler = signal.getsignal(signal.SIGTERM)
        async with Drain(notice_s=60) as drain:
            os.kill(os.getpid(), signal.SIGTERM)
            await settle()
            assert (drain.draining, drain.ending, got) == (True, False, [])
            os.kill(os.getpid(), signal.SIGTERM)
            while not drain.ending:  # noqa: ASYNC110 - a signal has no event
                await asyncio.sleep(0)
            await settle()
            assert got == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is handler

    with server() as got:
        asyncio.run(asyncio.wait_for(main(got), 10))


@pytest.mark.parametrize(("number", "notice_s"), [(signal.SIGTERM, 0.01), (signal.SIGINT, 60)])
def test_after_the_notice_the_server_is_told(number: int, notice_s: float) -> None:
    async def main(got: list[int]) -> None:
        # asyncio.run may set a handler of its own for SIGINT: this one is the server's again.
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
        async with Drain(notice_s=notice_s) as drain:
            os.kill(os.getpid(), number)
            while not got:  # noqa: ASYNC110 - a signal has no event
                await asyncio.sleep(0)
            await settle()
            assert drain.ending

    with server() as got:
        asyncio.run(asyncio.wait_for(main(got), 10))
        assert got == [number]


def test_signals_without_a_server_and_other_threads_are_left_alone() -> None:
    async def handlers() -> list[Any]:
        async with Drain(notice_s=0):
            return [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]

    with server():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before = [signal.SIG_DFL, signal.default_int_handler]
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            assert loop.run_until_complete(handlers()) == before
    with server():
        before = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.extend(asyncio.run(handlers())))
        thread.start()
        thread.join()
        assert seen == before


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(Drain).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"notice_s": 5, "finish_s": 10}


@in_a_loop
async def test_the_end_comes_even_if_those_who_are_told_fail() -> None:
    def fail() -> None:
        raise LookupError("the balancer is away")

    drain, quotes = Drain(on_begin=fail), Quotes()
    stream = asyncio.create_task(anext(drain.until(quotes()), None))  # type: ignore[arg-type]
    await settle()
    with pytest.raises(LookupError):
        drain.begin(0)
    assert await asyncio.wait_for(stream, 5) is None
    assert (drain.draining, drain.ending, quotes.closed) == (True, True, True)


@in_a_loop
async def test_it_is_told_once_and_a_second_notice_can_only_be_shorter() -> None:
    told: list[bool] = []
    drain = Drain(notice_s=60, on_begin=lambda: told.append(True))
    drain.begin()
    assert (told, drain.ending) == ([True], False)
    drain.begin(0)
    assert (told, drain.ending) == ([True], True)
    drain.begin()
    assert (told, drain.ending) == ([True], True)


@in_a_loop
async def test_a_stream_that_is_being_cancelled_is_left_to_its_clean_up() -> None:
    drain, cleaning, may_end = Drain(), asyncio.Event(), asyncio.Event()

    async def items() -> AsyncGenerator[int, None]:
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            cleaning.set()
            await may_end.wait()
            cleaned.append(True)

    cleaned: list[bool] = []
    task = asyncio.create_task(anext(drain.until(items()), None))  # type: ignore[arg-type]
    await settle()
    task.cancel()
    await asyncio.wait_for(cleaning.wait(), 5)
    drain.begin(0)
    await settle()
    may_end.set()
    await asyncio.wait([task], timeout=5)
    assert (task.cancelled(), cleaned) == (True, [True])


@in_a_loop
async def test_only_the_start_of_a_reply_closes_the_connection_and_headers_may_be_left_out() -> None:
    drain, sent = Drain(), list[Any]()
    drain.begin(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    await drain.middleware(app)({"type": "http"}, None, send)
    assert sent == [
        {"type": "http.response.start", "status": 204, "headers": [(b"connection", b"close")]},
        {"type": "http.response.body", "body": b""},
    ]


@in_a_loop
async def test_the_end_waits_for_one_piece_of_work_after_the_other() -> None:
    drain = Drain(notice_s=0, finish_s=60)
    gone: list[int] = []

    async def work(number: int, begun: asyncio.Event, may_end: asyncio.Event) -> None:
        with drain.work():
            begun.set()
            await may_end.wait()
        gone.append(number)

    ends = [asyncio.Event() for _ in range(3)]
    begun = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(work(number, begun[number], ends[number])) for number in range(3)]
    for event in begun:
        await event.wait()

    async def leave() -> None:
        async with drain:
            pass

    leaving = asyncio.create_task(leave())
    for number, end in enumerate(ends):
        await settle()
        assert not leaving.done()
        end.set()
        await settle()
        assert gone == list(range(number + 1))
    await asyncio.wait_for(leaving, 5)
    assert drain.running == 0
    await asyncio.wait(tasks)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[Drain.__module__]).failed == 0
