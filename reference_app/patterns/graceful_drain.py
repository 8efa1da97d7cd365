# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Stop a service without a lost request: warn the balancer, end the streams, wait for the work.

Use it where a service is deployed while people use it, above all with WebSockets or server-sent events: the
server waits for its connections before it ends the lifespan, and a stream never ends by itself. And requests
come for seconds after SIGTERM, until the balancer has noticed.

Do not use it for what must survive a crash: that goes into a job (`skip_locked_queue`).

Limits: it goes before the handler that the server has set by the time the lifespan starts (uvicorn, also
under gunicorn), in the main thread; elsewhere call `begin`. `notice_s`, the server's patience and `finish_s`
together must stay below the orchestrator's (often 30 s). Ctrl-C and a second SIGTERM give no notice.

Instead: a `preStop` that sleeps gives the notice too. `sse-starlette` ends its own streams, by replacing a
method of uvicorn. `--timeout-graceful-shutdown` alone cancels streams, and clients see a cut body.

Example:
    >>> async def service() -> None:
    ...     drain = Drain(on_begin=lambda: print("not ready"))  # such as health.close
    ...     async def quotes():  # in an app also: app.add_middleware(drain.middleware)
    ...         yield "AAPL 131.12"
    ...         await asyncio.Event().wait()  # for the next one
    ...     async with drain:  # in the lifespan, around its yield
    ...         async for _ in drain.until(quotes()):
    ...             drain.begin(notice_s=0)  # SIGTERM
    >>> asyncio.run(service())
    not ready

Source: Kubernetes documentation, "Pod Lifecycle"; RFC 9112 section 9.6; uvicorn, `Server.shutdown`.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext, suppress
from typing import Any, Self, TypeVar

T = TypeVar("T")
App = Callable[[Any, Any, Any], Awaitable[None]]


class Drain:
    """What runs in this process, and whether it may go on; an async context manager for the lifespan.

    Args:
        notice_s: Seconds from SIGTERM to the end of streams and listening; until then all is served.
        finish_s: Seconds that leaving the context waits for work.
        on_begin: Called when it begins.

    Attributes:
        draining: Whether it has begun.
        ending: Whether the notice is over.
        running: Requests and other work of now; at the end what `finish_s` was too short for.
        interrupted: How many streams were ended.
    """

    def __init__(
        self, notice_s: float = 5, finish_s: float = 10, on_begin: Callable[[], object] = lambda: None
    ) -> None:
        self._notice_s = notice_s
        self._finish_s = finish_s
        self._on_begin = on_begin
        self._waits: dict[asyncio.Timeout, asyncio.Task[Any] | None] = {}
        self._idle = asyncio.Event()
        self._servers: dict[int, Any] = {}  # the handlers before ours
        self.draining = self.ending = False
        self.running = self.interrupted = 0

    def begin(self, notice_s: float | None = None) -> None:
        """Begin to drain; called again with a shorter notice, end sooner.

        Args:
            notice_s: Seconds until streams end; None takes the notice of the constructor.
        """
        wait_s = self._notice_s if notice_s is None else notice_s
        is_first, self.draining = not self.draining, True
        if wait_s:
            asyncio.get_running_loop().call_later(wait_s, self._end)
        else:
            self._end()
        if is_first:
            self._on_begin()  # last: if it raises, streams end all the same

    def _end(self) -> None:
        self.ending = True
        for wait, task in self._waits.items():
            if task is not None and not task.cancelling():  # else its clean-up would be cancelled
                wait.reschedule(0)  # in the past, so at once
        self._waits.clear()

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count a block as work to wait for, also where no request is."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._idle.set()

    async def until(self, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """Yield the items until the service ends; the wait for one is broken off, its sending is not."""
        async with aclosing(items):
            while not self.ending:
                # Without a moment, until `_end` gives it one: it tells its cancellation from all others.
                wait = asyncio.timeout(None)
                self._waits[wait] = asyncio.current_task()
                try:
                    async with wait:
                        item = await anext(items)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if not wait.expired():
                        raise
                    break
                finally:
                    self._waits.pop(wait, None)
                yield item
            self.interrupted += 1

    def middleware(self, app: App) -> App:
        """Return the app with its requests counted; while it drains, clients shall take a new connection."""

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            async def send_closing(message: Any) -> None:
                is_http_1 = scope.get("http_version", "1.1") < "2"  # HTTP/2 has GOAWAY instead
                if self.draining and is_http_1 and message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
                await send(message)

            with self.work() if scope["type"] != "lifespan" else nullcontext():
                await app(scope, receive, send_closing)

        return counted

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.draining = self.ending = False
        if threading.current_thread() is threading.main_thread():  # Python lets no other take signals
            for number in (signal.SIGTERM, signal.SIGINT):
                handler = signal.getsignal(number)
                # No server's: the default of SIGTERM ends the process, that of SIGINT the cell of a notebook.
                if callable(handler) and handler is not signal.default_int_handler:
                    self._servers[number] = handler
                    signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: object) -> None:
        wait_s = 0 if self.draining or number == signal.SIGINT else self._notice_s
        self._loop.call_soon_threadsafe(self.begin, wait_s)
        self._loop.call_soon_threadsafe(self._loop.call_later, wait_s, self._servers[number], number, None)

    async def __aexit__(self, *exc_info: object) -> None:
        for number, handler in self._servers.items():
            signal.signal(number, handler)
        self._servers.clear()
        self.begin(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._finish_s):
                while self.running:
                    self._idle.clear()
                    await self._idle.wait()
