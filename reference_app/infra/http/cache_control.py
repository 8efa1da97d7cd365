"""Who may keep an answer, and for how long: every Cache-Control of the service is one of these.

A response for which nobody has chosen one gets `NO_STORE` (`response_headers.py`), and a JSON answer to GET
gets `ASK_AGAIN` together with its ETag (`entity_tags.py`).
"""

from __future__ import annotations

import enum

from fastapi import Response


class CacheControl(enum.StrEnum):
    """The policies of the service (RFC 9111 section 5.2.2)."""

    #: Nobody keeps it: a token, or a probe, which proves nothing when it is answered from a cache.
    NO_STORE = "no-store"
    #: Nobody keeps it, for the user's eyes only: it is old before it could be used again.
    PRIVATE_NO_STORE = "private, no-store"
    #: The user may keep it, and must ask each time whether it is still true.
    ASK_AGAIN = "private, no-cache"
    #: The user may keep it for a second. A shared cache must not give it to others.
    A_SECOND = "private, max-age=1"
    #: Everybody may keep it for a minute.
    A_MINUTE = "public, max-age=60"
    #: The user may keep it for a day without asking: it never changes.
    IMMUTABLE = "private, max-age=86400, immutable"


def set_cache_control(response: Response, policy: CacheControl) -> None:
    """Say on a response who may keep it."""
    response.headers["Cache-Control"] = policy
