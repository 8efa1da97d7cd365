"""uvicorn's HTTP/1.1 protocol with the limits that it does not have: what happens before the app starts.

No middleware can hold these, since none has been asked yet: a head that never ends is put together piece by
piece (80 MB cost the event loop six seconds), and a connection that sends nothing, or a byte now and then, is
kept for ever. So it counts what a client sends besides a body, gives it a time, and looks at Host.

A proxy in front does the same for many more connections at once, and should: this is for a service without
one, or behind one that is set up wrongly.

Sources: RFC 9112 sections 3.2 and 9.5; RFC 6585 section 5; Apache's mod_reqtimeout (the rate of a body).
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from reference_app.infra.http.response_headers import CACHE_CONTROL, SECURITY

#: Of request line and fields together, and of the trailer after a body.
MAX_HEAD_BYTES = 64 * 1024
#: Of the request line alone, where one can be told from the fields.
MAX_TARGET_BYTES = 32 * 1024
#: A head must be here in this time, and a body at this rate after it.
TIMEOUT_S, MIN_BYTES_PER_S = 20.0, 500

#: A name or an address, and perhaps a port (RFC 9110 section 7.2); it may be empty.
HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-fv:.]+\])(:[0-9]*)?")


class _Refused(Exception):
    """Ends the parser: what it has read is answered with an error."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection of a client that may send only so much, in only so long.

    uvicorn makes one for each connection; it takes the place of its own with `http=BoundedProtocol`.

    Attributes:
        timeout_s: A head must be here in this time; a silent connection ends.
    """

    timeout_s = TIMEOUT_S

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._status = HTTPStatus.BAD_REQUEST
        self._besides_body_bytes = self._received_bytes = self._head_bytes = 0
        # None while it is our turn: a request is here as a whole.
        self._waiting_since_s: float | None = self.loop.time()
        self.loop.call_later(self.timeout_s / 4, self._look)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it is too much."""
        if self.transport.is_closing():
            return
        if self._waiting_since_s is None:
            self._waiting_since_s, self._received_bytes = self.loop.time(), 0
        self._besides_body_bytes += len(data)
        self._received_bytes += len(data)
        super().data_received(data)
        if self._besides_body_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._head_bytes = 0
        if self._waiting_since_s is None:  # behind another request, in the same piece
            self._waiting_since_s, self._received_bytes = self.loop.time(), 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field."""
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        """Refuse what is no request of HTTP/1.1, before it costs more."""
        if self._head_bytes + len(self.url) > MAX_HEAD_BYTES or len(self.url) > MAX_TARGET_BYTES:
            self._status = self._too_large()
            raise _Refused
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            raise _Refused
        if hosts and HOST.fullmatch(hosts[0]) is None:
            raise _Refused
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body; what comes between two pieces is of no great length."""
        self._besides_body_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop to wait: the request is here."""
        self._besides_body_bytes, self._waiting_since_s = 0, None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused, as a problem with the headers of every other answer."""
        self._refuse(self._status)

    def _too_large(self) -> HTTPStatus:
        if len(self.url) > MAX_TARGET_BYTES:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE

    def _look(self) -> None:
        """Look now and then whether the client is too slow: cheaper than a timer for each request."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # it has ended, or has become a WebSocket
        now_s = self.loop.time()
        if self._waiting_since_s is not None and self._is_our_turn():
            self._waiting_since_s, self._received_bytes = now_s, 0
        since_s = self._waiting_since_s
        if since_s is not None and now_s > since_s + self.timeout_s + self._received_bytes / MIN_BYTES_PER_S:
            if self._received_bytes:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            else:
                self.transport.close()
            return
        self.loop.call_later(self.timeout_s / 4, self._look)

    def _is_our_turn(self) -> bool:
        """Say whether a request is being answered that is here as a whole, or that we do not read now."""
        is_running = self.cycle is not None and not self.cycle.response_complete
        return is_running and (not self.cycle.more_body or self.flow.read_paused)

    def _refuse(self, status: HTTPStatus) -> None:
        cycle = self.cycle
        if (
            cycle is not None
            and not cycle.response_complete
            and (cycle.response_started or not cycle.more_body)
        ):
            self.transport.abort()  # another request is being answered: this would be taken for its answer
            return
        problem = {"type": "about:blank", "title": status.phrase, "status": status.value}
        body = json.dumps(problem).encode()
        fields = [
            *self.server_state.default_headers,
            *SECURITY.items(),
            CACHE_CONTROL,
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.close()
