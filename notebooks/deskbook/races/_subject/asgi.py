"""Send a request into an ASGI application without a server: the fast way and, on request, through httpx.

A real server may suspend an application while it waits for the rest of a body, or while a slow client drains
the socket. Another request can run then. So `receive` and `send` suspend here as well, where the service's
own code could see it: `receive` when user code is among its callers; `send` between the chunks of a stream,
under user middleware, and before background tasks and the teardown of dependencies. Source: ASGI 3.0
(asgi.readthedocs.io, HTTP and lifespan protocols); uvicorn's flow control (`FlowControl.drain`).
"""

from __future__ import annotations

import asyncio
import functools
import sys
import types
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import httpx

from deskbook.races import _frames as frames
from deskbook.races._frames import user_frames_on_stack
from deskbook.races._subject.http_request import BASE_URL, Request

#: How many different answers of one request are kept to be copied.
_MAX_MODELS = 256

Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]


class Stream(Protocol):
    """An answer that is on its way."""

    @property
    def is_open_stream(self) -> bool:
        """Whether it is a stream of events that has begun and not ended."""
        ...

    def leave(self) -> None:
        """Let the client go: what is sent from now on reaches nobody."""


class RequestTemplate:
    """What does not change between two sendings of one request."""

    def __init__(self, request: Request) -> None:
        encoded = request.encoded
        self.request = encoded
        self.leave_after = request.leave_after
        self.models: dict[Any, httpx.Response] = {}
        self.under_way: Delivery | _SuspendingTransport | None = None
        self.body = encoded.content
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": encoded.method,
            "headers": [(key.lower(), value) for key, value in encoded.headers.raw],
            "scheme": encoded.url.scheme,
            "path": encoded.url.path,
            "raw_path": encoded.url.raw_path.split(b"?")[0],
            "query_string": encoded.url.query,
            "server": ("testserver", 80),
            "client": ("127.0.0.1", 50_000),
            "root_path": "",
        }

    @functools.cached_property
    def httpx_caller(self) -> HttpxCaller:
        """The client that sends the request through httpx."""
        return HttpxCaller(self.request)

    def fresh_scope(self, state: dict[str, Any] | None) -> dict[str, Any]:
        """Return a scope that the application may write into."""
        scope = self.scope.copy()
        scope["headers"] = self.scope["headers"].copy()
        scope["extensions"] = {}
        if state is not None:
            scope["state"] = state.copy()
        return scope


class Delivery:
    """One request on its way through the application: the two ASGI callables and what they collected."""

    __slots__ = (
        "_body",
        "_complete",
        "_sent_body",
        "chunks",
        "headers",
        "is_over",
        "leave_after",
        "scope",
        "status",
    )

    def __init__(self, template: RequestTemplate, state: dict[str, Any] | None) -> None:
        self.scope = template.fresh_scope(state)
        self._body = template.body
        self._sent_body = False
        self._complete: asyncio.Future[None] | None = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.leave_after = template.leave_after
        self.is_over = False

    @property
    def is_open_stream(self) -> bool:
        """Whether the answer is a stream of events that has begun and not ended."""
        kind = next((value for name, value in self.headers if name.lower() == b"content-type"), b"")
        return bool(self.status) and not self.is_over and kind.startswith(b"text/event-stream")

    def leave(self) -> None:
        """Let the client go: what is sent from now on reaches nobody (uvicorn drops it without a word)."""
        self.is_over = True
        if self._complete is None:
            self._complete = asyncio.get_running_loop().create_future()
        if not self._complete.done():
            self._complete.set_result(None)

    async def receive(self) -> Message:
        """Hand over the body, once; after that wait for the end of the response."""
        if not self._sent_body:
            self._sent_body = True
            if user_frames_on_stack(sys._getframe(1)):
                await asyncio.sleep(0)
            return {"type": "http.request", "body": self._body, "more_body": False}
        if self._complete is None:
            self._complete = asyncio.get_running_loop().create_future()
        if not self._complete.done():
            # All listeners wait for one future. Without the shield, cancelling one would cancel the others.
            await asyncio.shield(self._complete)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Collect the response."""
        kind = message["type"]
        if self.is_over:
            return
        if kind == "http.response.start":
            if user_frames_on_stack(sys._getframe(1)):
                await asyncio.sleep(0)
            self.status = message["status"]
            self.headers = list(message.get("headers", []))
            if self.leave_after == 0:
                self.leave()
        elif kind == "http.response.body":
            more = message.get("more_body", False)
            if more or self._user_code_follows() or user_frames_on_stack(sys._getframe(1)):
                await asyncio.sleep(0)
            chunk = message.get("body", b"")
            self.chunks.append(chunk)
            if not more or self._has_enough(chunk):
                self.leave()

    def _has_enough(self, chunk: bytes) -> bool:
        """Tell whether the client has got as many parts as it wanted."""
        if self.leave_after is None or not chunk:
            return False
        self.leave_after -= 1
        return self.leave_after <= 0

    def _user_code_follows(self) -> bool:
        """Tell whether background tasks or teardown of dependencies run after the response."""
        for name in ("fastapi_inner_astack", "fastapi_function_astack"):
            stack = self.scope.get(name)
            if stack is not None and getattr(stack, "_exit_callbacks", True):
                return True
        frame: types.FrameType | None = sys._getframe(2)
        floor = frames.floor()
        while frame is not None and frame.f_code is not floor:
            code = frame.f_code
            # `f_locals` is costly, so it is asked of the frames alone that send a response.
            if code.co_name == "__call__" and code.co_filename.endswith("responses.py"):
                sender = frame.f_locals.get("self")
                if getattr(sender, "background", None) is not None:
                    return True
            frame = frame.f_back
        return False


async def framework_pause() -> None:
    """Suspend once in framework code, which is a choice only between two pieces of user code."""
    await asyncio.sleep(0)


async def call_raw(app: App, template: RequestTemplate, state: dict[str, Any] | None) -> httpx.Response:
    """Send one request by calling the application.

    A failure that the application lets through becomes the 500 that a server would answer; the exception is
    kept under `response.extensions["exception"]`.
    """
    delivery = template.under_way = Delivery(template, state)
    failure: Exception | None = None
    try:
        await app(delivery.scope, delivery.receive, delivery.send)
    except Exception as error:
        failure = error.with_traceback(None)
        if not delivery.status:
            delivery.status = 500
    return response_of(delivery, template, failure)


def response_of(delivery: Delivery, template: RequestTemplate, failure: Exception | None) -> httpx.Response:
    """Build the response that the client of this delivery would see.

    Thousands of schedules give the same few answers; building an `httpx.Response` costs as much as a small
    handler, so each different answer is built once and then copied.
    """
    key = (delivery.status, tuple(delivery.headers), b"".join(delivery.chunks))
    model = template.models.get(key)
    if model is None:
        if len(template.models) >= _MAX_MODELS:
            template.models.clear()
        model = template.models[key] = httpx.Response(
            key[0], headers=delivery.headers, content=key[2], request=template.request
        )
    response = httpx.Response.__new__(httpx.Response)
    response.__dict__.update(model.__dict__)
    response.extensions = {} if failure is None else {"exception": failure}
    return response


class _SuspendingTransport(httpx.ASGITransport):
    """httpx's own ASGI transport, with the suspensions of `Delivery` in between."""

    def __init__(self, app: App, state: dict[str, Any] | None, leave_after: int | None = None) -> None:
        self.failure: Exception | None = None
        self.is_open_stream: bool = False
        self._leave_after = leave_after
        self._send: Callable[[Message], Awaitable[None]] | None = None

        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            self._send = send
            if state is not None:
                scope["state"] = state.copy()

            async def receive_later() -> Any:
                if user_frames_on_stack(sys._getframe(1)):
                    await asyncio.sleep(0)
                return await receive()

            async def send_later(message: Any) -> None:
                if message.get("more_body") or user_frames_on_stack(sys._getframe(1)):
                    await asyncio.sleep(0)
                if self._send is None:
                    return
                await send(message)
                self._note(message)

            try:
                await app(scope, receive_later, send_later)
            except Exception as error:
                self.failure = error.with_traceback(None)
                raise

        super().__init__(app=wrapped, raise_app_exceptions=False)

    def _note(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = dict(message.get("headers", [])).get(b"content-type", b"")
            self.is_open_stream = kind.startswith(b"text/event-stream")
        elif not message.get("more_body", False):
            self.is_open_stream = False
        if self._leave_after is not None and (message.get("body") or self._leave_after == 0):
            self._leave_after -= 1
            if self._leave_after <= 0:
                self.leave()

    def leave(self) -> None:
        """Let the client go: the rest of the answer reaches nobody."""
        self.is_open_stream = False
        if self._send is not None:
            end = self._send({"type": "http.response.body", "body": b"", "more_body": False})
            self._send = None
            try:
                end.send(None)  # type: ignore[attr-defined]
            except StopIteration:
                return


class _Switch(httpx.AsyncBaseTransport):
    """Leads to the application of the present run, so that a client can be used for many."""

    target: _SuspendingTransport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.target.handle_async_request(request)


class HttpxCaller:
    """An `httpx.AsyncClient` for one of the requests, which at most one task uses at a time.

    Making a client, and the request in it, costs as much as a handler, so both are made once. The client
    remembers cookies, but the request was built before the first of them, so it never carries one.

    Args:
        encoded: The request.
    """

    def __init__(self, encoded: httpx.Request) -> None:
        self._switch = _Switch()
        self._client = httpx.AsyncClient(transport=self._switch, base_url=BASE_URL)
        self._request = self._client.build_request(
            encoded.method, encoded.url, headers=encoded.headers, content=encoded.content
        )

    async def call(self, app: App, template: RequestTemplate, state: dict[str, Any] | None) -> httpx.Response:
        """Send the request to an application."""
        transport = _SuspendingTransport(app, state, template.leave_after)
        self._switch.target = template.under_way = transport
        response = await self._client.send(self._request)
        if transport.failure is not None:
            response.extensions["exception"] = transport.failure
        return response


async def call_httpx(app: App, template: RequestTemplate, state: dict[str, Any] | None) -> httpx.Response:
    """Send one request with `httpx.AsyncClient`, as a client would."""
    return await template.httpx_caller.call(app, template, state)
