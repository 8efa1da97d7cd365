"""Tell clients that a route has a successor, and until when it stays (RFC 9745, RFC 8594).

Headers and not the documentation alone: a client that runs for years reads no documentation, but its proxy,
its log or its HTTP library can raise the alarm.
"""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from fastapi import Depends, Request, Response


def deprecated_by(successor: str, *, since: dt.datetime, until: dt.datetime) -> dict[str, Any]:
    """Return the options of a route decorator that mark it as deprecated.

    Args:
        successor: Path of what takes its place, with the parameters of the old path in braces.
        since: The moment from which on it is deprecated, with a time zone.
        until: The moment from which on it may be gone, with a time zone.
    """
    if since > until:
        raise ValueError("a route is deprecated before it goes")
    fields = {
        "Deprecation": f"@{int(since.timestamp())}",
        "Sunset": format_datetime(until.astimezone(dt.UTC), usegmt=True),
    }

    async def announce(request: Request, response: Response) -> None:
        # Quoted: what the client sent is not checked yet when this runs, and may be no header at all.
        params = {name: quote(str(value), safe="") for name, value in request.path_params.items()}
        link = f'<{successor.format_map(params)}>; rel="successor-version"'
        response.headers.update({**fields, "Link": link})

    headers = {name: {"schema": {"type": "string"}} for name in ("Deprecation", "Sunset", "Link")}
    return {
        "deprecated": True,
        "dependencies": [Depends(announce)],
        "openapi_extra": {"responses": {"200": {"headers": headers}}},
    }
