"""Headers that every response has: what browsers may do with it, and who may keep it.

Pure ASGI: a route that sets one of these itself is left alone.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reference_app.infra.http.cache_control import CacheControl

#: OWASP REST Security Cheat Sheet. An API shows no page, so nothing may be loaded by one; /docs has its own.
SECURITY = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
}
#: Only over TLS: a browser ignores it elsewhere (RFC 6797 section 8.1).
TLS_ONLY = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
#: What nobody has thought about is kept by nobody.
CACHE_CONTROL = (b"cache-control", CacheControl.NO_STORE.encode())


class ResponseHeadersMiddleware:
    """Adds what a response lacks; outside of all that can answer, so that errors have it too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._defaults = [*SECURITY.items(), CACHE_CONTROL]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app and complete its headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                names = {name.lower() for name, _ in headers}
                added = [item for item in self._defaults if item[0] not in names]
                if scope["scheme"] == "https" and TLS_ONLY[0] not in names:
                    added.append(TLS_ONLY)
                message["headers"] = [*headers, *added]
            await send(message)

        await self._app(scope, receive, send_complete)
