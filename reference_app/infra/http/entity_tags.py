"""An ETag for every JSON answer to GET that has none, and 304 for who has it already (RFC 9110 section 13).

The work is done all the same; what is saved is the way. Routes that know their version do it before the work
(`infra/http/conditional.py`), and streams are left alone: their end is not known when the headers are sent.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reference_app.infra.http.cache_control import CacheControl
from reference_app.patterns.conditional_request import NotModified, Preconditions, Validators, etag
from reference_app.patterns.problem_details import of_status

CACHE_CONTROL = CacheControl.ASK_AGAIN.encode()


class EntityTagMiddleware:
    """Holds the start of a reply back until its body is there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; tag what it sends in one piece."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_taggable(message):
                start = message
                return
            if start is not None:
                held, start = start, None
                if message.get("more_body", False):
                    await send(held)
                else:
                    message = await _tagged(scope, held, message, send)
            await send(message)

        await self._app(scope, receive, send_tagged)


def _is_taggable(start: Message) -> bool:
    if start["status"] != 200:
        return False
    headers = dict(start.get("headers", ()))
    if b"no-store" in headers.get(b"cache-control", b""):
        return False  # a client that must not keep an answer has nothing to ask for again
    return headers.get(b"content-type") == b"application/json" and b"etag" not in headers


async def _tagged(scope: Scope, start: Message, body: Message, send: Send) -> Message:
    """Send the start of the reply, and return the message that ends it."""
    validators = Validators(etag(body.get("body", b"")))
    headers = [*start.get("headers", ()), (b"etag", validators.etag.encode())]
    if not any(name == b"cache-control" for name, _ in headers):
        headers.append((b"cache-control", CACHE_CONTROL))
    try:
        Preconditions(Request(scope)).check(validators)
    except NotModified:
        kept = [item for item in headers if item[0] not in {b"content-length", b"content-type"}]
        await send({**start, "status": 304, "headers": kept})
        return {"type": "http.response.body"}
    except HTTPException as error:  # 412, and 400 for a header that cannot be read
        reply = of_status(error.status_code, str(error.detail)).response()
        await send({**start, "status": reply.status_code, "headers": reply.raw_headers})
        return {"type": "http.response.body", "body": reply.body}
    await send({**start, "headers": headers})
    return body
