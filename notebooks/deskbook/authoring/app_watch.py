"""Notice an app that fails after it has replied.

A test client that must show the 500 response of an app has to swallow exceptions, and with them those of a
background task: the client sees 200, and nobody sees the failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from deskbook.authoring.hook import record_failure

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class AppWatch:
    """An ASGI app that passes everything on and fails the cell when the app fails behind a good reply.

    A failure that the client sees as 500 is left alone. Outside of a watched kernel nothing is recorded.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one connection or the lifespan."""
        status = 500

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting_status)
        except Exception as error:
            if status < 500:
                record_failure(error, f"{scope['method']} {_route(scope)}, after its reply {status},")
            raise


def _route(scope: Scope) -> str:
    """Return the path as the app declares it: the requested one may hold an id of this run."""
    return getattr(scope.get("route"), "path", None) or "an unknown route"
