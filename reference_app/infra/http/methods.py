"""HEAD for every GET route, and a complete Allow header on 405 (RFC 9110 sections 9.3.2 and 15.5.6).

FastAPI answers HEAD on a GET route with 405, and names only the methods of the first route of a path.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class _Answered(Exception):
    """Ends a stream whose headers were all that was asked for."""


class HttpMethodsMiddleware:
    """Answers HEAD with the headers of GET and no body; a stream is ended before its second part."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a HEAD request as GET and drop the body; complete Allow where it is sent."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                MutableHeaders(raw=message["headers"])["allow"] = ", ".join(_allowed(scope))
            if message["type"] == "http.response.body" and is_head:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                if message.get("more_body", False):
                    raise _Answered
                return
            await send(message)

        # A copy: the access log of the server reads the method from its own scope.
        try:
            await self.app({**scope, "method": "GET"} if is_head else scope, receive, send_head)
        except* _Answered:  # a streaming response sends from a task group
            pass


def _allowed(scope: Scope) -> list[str]:
    routes = scope["app"].router.routes
    methods = [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] == Match.FULL for route in routes)
    ]
    return ["GET", "HEAD", *methods[1:]] if "GET" in methods else methods
