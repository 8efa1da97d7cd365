"""What to send: one kind of request, how often and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from deskbook.load.errors import LoadError

#: Connections when the caller names no number: few clients that wait, or many that do not.
CLOSED_LOOP_CLIENTS = 8
OPEN_LOOP_CLIENTS = 64


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One kind of request, sent in a closed loop (no rate) or an open loop (a rate).

    A run ends at `requests` or after `seconds`, whichever comes first; requests under way are waited for. In
    an open loop the number is known beforehand: `rate_per_s` times `seconds`, or `requests` if that is less.

    Where url, headers or body contain `{{number}}`, each request (of the warm-up too) has its own number
    there, in ten digits: for an Idempotency-Key, or to ask for another row each time.

    Args:
        url: An http:// address.
        method: The HTTP method.
        headers: Headers to send besides Host and Content-Length.
        body: The body of each request.
        clients: Connections, each with one request in flight. Default 8, in an open loop 64.
        rate_per_s: Requests a second in an open loop; None is a closed loop.
        requests: Largest number of requests, the warm-up not counted.
        seconds: Longest time during which requests are begun.
        start_after_s: Seconds after the start of the run at which this workload begins.
        warm_up_requests: Sent before the run and not counted; they open the connections and fill caches.
        timeout_s: Seconds until a request that has no full answer counts as an error of kind "timeout".

    Raises:
        LoadError: A value makes no sense.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    clients: int | None = None
    rate_per_s: float | None = None
    requests: int = 1000
    seconds: float = 10.0
    start_after_s: float = 0.0
    warm_up_requests: int = 0
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.scheme != "http" or not address.hostname:
            raise LoadError(
                f"The load generator speaks plain HTTP: url must begin with http://, got {self.url!r}."
            )
        for name in ("requests", "seconds", "timeout_s", "connections"):
            if getattr(self, name) <= 0:
                raise LoadError(f"{name} must be above 0, got {getattr(self, name)!r}.")
        if self.rate_per_s is not None and self.rate_per_s <= 0:
            raise LoadError(
                f"rate_per_s must be above 0, or None for a closed loop, got {self.rate_per_s!r}."
            )
        if self.warm_up_requests < 0 or self.start_after_s < 0:
            raise LoadError("warm_up_requests and start_after_s must not be negative.")

    @property
    def name(self) -> str:
        """Method and path, as a log would show it."""
        return f"{self.method} {urlsplit(self.url).path or '/'}"

    @property
    def connections(self) -> int:
        """The number of connections, with the default for the kind of loop."""
        default = CLOSED_LOOP_CLIENTS if self.rate_per_s is None else OPEN_LOOP_CLIENTS
        return default if self.clients is None else self.clients

    @property
    def longest_s(self) -> float:
        """Seconds after which the run must be over, warm-up included."""
        warm_up_rounds = -(-self.warm_up_requests // self.connections)
        return self.start_after_s + self.seconds + (2 + warm_up_rounds) * self.timeout_s

    def plan(self) -> dict[str, object]:
        """Return what the generator process needs, as JSON values."""
        address = urlsplit(self.url)
        return {
            "host": address.hostname,
            "port": address.port or 80,
            "request": self._request_bytes().decode("latin-1"),
            "head_only": self.method == "HEAD",
            "clients": self.connections,
            "rate_per_s": self.rate_per_s,
            "requests": self.requests,
            "seconds": self.seconds,
            "start_after_s": self.start_after_s,
            "warm_up_requests": self.warm_up_requests,
            "timeout_s": self.timeout_s,
        }

    def _request_bytes(self) -> bytes:
        """Return the request as it goes over the wire (RFC 9112), the same bytes each time."""
        address = urlsplit(self.url)
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        headers = {"Host": address.netloc, **self.headers}
        if self.body or self.method in {"POST", "PUT", "PATCH"}:
            headers["Content-Length"] = str(len(self.body))
        lines = [f"{self.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise LoadError(
                "A line break in the method, the url or a header would make a second request of it."
            )
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body
