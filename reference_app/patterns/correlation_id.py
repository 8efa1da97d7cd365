# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""One id a request: in every log line, in the reply, in calls to other services, and beside every traceback.

Use it in every service whose log is read by people: without it the lines of requests that run at the same
time stand mixed, and a client who reports an error has nothing to name it by.

Do not use it as proof of anything: the client chooses the id. Do not make a key of it (`idempotency_key`).

Limits: put it outermost, so add it last. Starlette's own 500 is made outside of all middleware and comes
without the id unless errors become replies further in, as `problem_details` does; the traceback has it all
the same. What a request starts inherits the id (tasks, `asyncio.to_thread`); `run_in_executor` and queues do
not: hand it over. `IdFilter` belongs on handlers, because a logger's filter does not see the records of its
children; with a QueueHandler, on that one. Browsers read the header only where CORS exposes it.

Instead: OpenTelemetry, which FastAPI speaks itself, for a trace with timings over several services.
`asgi-correlation-id` does what this does and knows Celery and Sentry; it adds its header to one that the
reply has already, leaves WebSockets without one and tracebacks too, and does not reset the id afterwards.

Example:
    >>> import asyncio
    >>> async def app(scope, receive, send):
    ...     await send({"type": "http.response.start", "status": 200, "headers": []})
    ...     print("for the exchange:", outgoing_headers())
    >>> async def send(message):
    ...     print("for the client:", message["headers"])
    >>> scope = {"type": "http", "headers": [(b"x-request-id", b"order-7")]}
    >>> asyncio.run(CorrelationId(app)(scope, None, send))
    for the client: [(b'x-request-id', b'order-7')]
    for the exchange: {'X-Request-ID': 'order-7'}

Source: W3C Trace Context, section 3.2.2.3, for the form of a new id; OWASP Logging Cheat Sheet, for log
injection; PEP 567 for context variables, PEP 678 for notes on exceptions.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What an id may be. No spaces and no line ends: it is written into the log, and into headers.
VALID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
DEFAULT_HEADER = "X-Request-ID"
#: What has headers that go to the client; the last one refuses a WebSocket.
_BEGINS = {"http.response.start", "websocket.accept", "websocket.http.response.start"}
_current: ContextVar[str] = ContextVar("correlation_id", default="")


def current_id() -> str:
    """Return the id of the request that this code runs for; "" outside of requests."""
    return _current.get()


def outgoing_headers(header: str = DEFAULT_HEADER) -> dict[str, str]:
    """Return the header for a call to another service; outside of requests none."""
    return {header: current_id()} if current_id() else {}


def new_id() -> str:
    """Return 32 hexadecimal digits at random, which is also a valid trace id."""
    return secrets.token_hex(16)


class IdFilter(logging.Filter):
    """Gives every record of a handler the attribute `correlation_id`: "-" outside of requests.

    handler.addFilter(IdFilter())
    handler.setFormatter(logging.Formatter("%(correlation_id)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the attribute; every record passes."""
        if not hasattr(record, "correlation_id"):  # it has been set where it was logged, or handed over
            record.correlation_id = current_id() or "-"
        return True


class CorrelationId:
    """ASGI middleware: takes the client's id or makes one, and sends it back.

    It is sent back with a WebSocket's handshake too, and with its refusal. An exception that leaves the app
    gets a note with the id, which whoever logs its traceback prints along.

    Args:
        app: The ASGI app that it wraps.
        header: Where the id comes and goes.
        trust_client: Take over ids that come in; False at the edge, where they say nothing.
        counts: Counts "accepted", "made" and "refused"; what is refused is replaced by one that is made.
    """

    def __init__(
        self,
        app: App,
        header: str = DEFAULT_HEADER,
        trust_client: bool = True,
        counts: Counter[str] | None = None,
    ) -> None:
        self._app = app
        self._header = header.lower().encode("ascii")  # ASGI wants header names in lower case
        self._trust_client = trust_client
        self._counts = Counter() if counts is None else counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app with the id set."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = self._choose(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] in _BEGINS:
                others = [it for it in message.get("headers", ()) if it[0].lower() != self._header]
                message["headers"] = [*others, (self._header, request_id.encode("ascii"))]
            await send(message)

        # A context variable and no attribute of the module: requests take turns at every await.
        token = _current.set(request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            error.add_note(f"correlation id: {request_id}")
            raise
        finally:
            _current.reset(token)  # a test client or a second app on top runs on in this task

    def _choose(self, scope: Scope) -> str:
        values = [value for name, value in scope["headers"] if name == self._header]
        given = values[0].decode("latin-1") if len(values) == 1 else ""
        if self._trust_client and VALID.fullmatch(given):
            self._counts["accepted"] += 1
            return given
        if self._trust_client and values:
            self._counts["refused"] += 1
        self._counts["made"] += 1
        return new_id()
