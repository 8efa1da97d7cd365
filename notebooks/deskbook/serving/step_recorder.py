"""When does a request hold the event loop? This ASGI middleware notes it.

A coroutine runs from one await to the next; while it runs, nothing else on its loop does. The recorder
drives the app's coroutine by hand and notes the start and the end of each such step, on `time.monotonic()`,
the clock that all processes of a machine share. A worker thread notes when it worked for the request.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio.to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

#: The recorder hands out its notes at this path; a request is found again by the number in this header.
STEPS_PATH = "/-/steps"
NUMBER_HEADER = b"x-trace-number"
#: The notes of so many requests are kept; the oldest are dropped.
MOST_REQUESTS = 1000

#: Start and end, in seconds.
Step = tuple[float, float]


@dataclass
class Noted:
    """When one request held the event loop, and when a thread worked for it."""

    loop: list[Step] = field(default_factory=list)
    threads: list[Step] = field(default_factory=list)


#: The notes of the request that is being answered; tasks that its code starts inherit them.
_noted: ContextVar[Noted | None] = ContextVar("noted", default=None)


class StepRecorder:
    """Notes the steps of each request that has a number, and answers STEPS_PATH with them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._noted: deque[tuple[int, Noted]] = deque(maxlen=MOST_REQUESTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] == STEPS_PATH:
            await self._hand_out(send)
        elif scope["type"] == "http" and (number := dict(scope["headers"]).get(NUMBER_HEADER)):
            noted = Noted()
            self._noted.append((int(number), noted))
            _noted.set(noted)
            await _Stepwise(self._app(scope, receive, send), noted.loop)
        else:
            await self._app(scope, receive, send)

    async def _hand_out(self, send: Send) -> None:
        body = json.dumps({number: asdict(noted) for number, noted in self._noted}).encode()
        self._noted.clear()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def note_threads() -> None:
    """Let the worker threads of this process, in which FastAPI runs plain `def`, note when they work."""
    run_sync = anyio.to_thread.run_sync

    async def noting(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        noted = _noted.get()
        if noted is None:
            return await run_sync(function, *arguments, **options)

        def timed() -> Any:
            started_s = time.monotonic()
            try:
                return function(*arguments)
            finally:
                noted.threads.append((started_s, time.monotonic()))

        return await run_sync(timed, **options)

    anyio.to_thread.run_sync = noting  # type: ignore[assignment]


class _Stepwise:
    """An awaitable that passes everything through and notes when the inner one runs."""

    def __init__(self, inner: Awaitable[None], steps: list[Step]) -> None:
        self._inner = inner
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, None]:
        inner = self._inner.__await__()
        proceed, value = inner.send, None
        while True:
            started_s = time.monotonic()
            try:
                wanted = proceed(value)
            except StopIteration:
                return
            finally:
                self._steps.append((started_s, time.monotonic()))
            try:
                value = yield wanted
                proceed = inner.send
            except BaseException as error:  # The app must get every exception, a cancellation included.
                proceed, value = inner.throw, error
