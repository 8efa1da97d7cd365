"""A WebSocket client as a request of the explorer: it connects, says some words, hears some, and leaves.

Source: ASGI 3.0 (asgi.readthedocs.io, "WebSocket Connection Scope").
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from deskbook.races._frames import user_frames_on_stack


@dataclass(frozen=True)
class WebSocket:
    """One client of a WebSocket.

    Attributes:
        path: The path, with or without a query string.
        send: What it says after it was accepted.
        leave_after: Messages that it hears before it leaves; 0 to leave when everything is said.
        headers: Headers of the handshake.
    """

    path: str
    send: tuple[str, ...] = ()
    leave_after: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"WEBSOCKET {self.path}"


@dataclass
class Conversation:
    """What came of a WebSocket.

    Attributes:
        is_accepted: Whether the service accepted it.
        heard: The messages that it was sent.
        close_code: The code with which the service closed it, or None if the client left.
    """

    is_accepted: bool = False
    heard: list[str] = field(default_factory=list)
    close_code: int | None = None


def websocket(
    path: str, *, send: Sequence[str] = (), leave_after: int = 0, headers: Mapping[str, str] | None = None
) -> WebSocket:
    """Describe a client of a WebSocket.

    Args:
        path: For instance `/rooms/1`.
        send: What it says after it was accepted.
        leave_after: Messages that it hears before it leaves; 0 to leave when everything is said.
        headers: Headers of the handshake, such as Origin.

    Returns:
        A request for `explore`. Its answer has `is_accepted`, `heard` and `close_code`.
    """
    return WebSocket(path, tuple(send), leave_after, headers or {})


class Connection:
    """One WebSocket on its way through the application.

    Args:
        client: What the client does.
    """

    def __init__(self, client: WebSocket) -> None:
        self._client = client
        self._said = 0
        self._is_connected = False
        self._has_heard_enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.conversation = Conversation()
        self.is_open_stream = False
        self._check()

    async def call(self, app: Any, state: dict[str, Any] | None) -> Conversation:
        """Connect, talk and leave."""
        address = urlsplit(self._client.path)
        scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": address.path,
            "raw_path": address.path.encode(),
            "query_string": address.query.encode(),
            "root_path": "",
            "headers": [
                (name.lower().encode(), value.encode()) for name, value in self._client.headers.items()
            ],
            "subprotocols": [],
            "server": ("testserver", 80),
            "client": ("127.0.0.1", 50_000),
            "extensions": {},
        }
        if state is not None:
            scope["state"] = state.copy()
        await app(scope, self._receive, self._send)
        self.is_open_stream = False
        return self.conversation

    def leave(self) -> None:
        """Let the client go although it has not heard what it waits for."""
        self.is_open_stream = False
        if not self._has_heard_enough.done():
            self._has_heard_enough.set_result(None)

    async def _receive(self) -> dict[str, Any]:
        if user_frames_on_stack(sys._getframe(1)):
            await asyncio.sleep(0)
        if not self._is_connected:
            self._is_connected = True
            return {"type": "websocket.connect"}
        if self._said < len(self._client.send):
            self._said += 1
            return {"type": "websocket.receive", "text": self._client.send[self._said - 1]}
        await asyncio.shield(self._has_heard_enough)
        return {"type": "websocket.disconnect", "code": 1000}

    async def _send(self, message: dict[str, Any]) -> None:
        if user_frames_on_stack(sys._getframe(1)):
            await asyncio.sleep(0)
        kind = message["type"]
        if kind == "websocket.accept":
            self.conversation.is_accepted = self.is_open_stream = True
        elif kind == "websocket.send":
            text = message.get("text")
            self.conversation.heard.append(repr(message.get("bytes")) if text is None else text)
            self._check()
        elif kind == "websocket.close":
            self.conversation.close_code = message.get("code", 1000)
            self.leave()

    def _check(self) -> None:
        if len(self.conversation.heard) >= self._client.leave_after and not self._has_heard_enough.done():
            self._has_heard_enough.set_result(None)
