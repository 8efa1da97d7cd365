# /// script
# requires-python = ">=3.11"
# dependencies = ["fastapi>=0.128"]
# ///
"""Conditional requests: 304 for what the client has, 412 for a change of what it never saw, 428 for neither.

Use it for resources that are read again (the client sends its ETag back and gets 304 without a body), and for
those that two people edit: PUT, PATCH and DELETE with If-Match change the version that was seen, or nothing.

Do not use it for a POST that creates (`idempotency_key`), or for streams that have no version.

Limits: it compares and does not lock. Others may write between the check and your write: pass the version
that was checked on to the UPDATE (`optimistic_version`). The ETag must change with the representation: put
its media type and language in where there are several. Check after authentication, validation and 404. Dates
have whole seconds: for edits require ETags. There is no Range. Outcomes are status codes, which request
metrics count.

Instead: `Response.make_conditional` of werkzeug does GET and HEAD, when the work is done; changes are left to
you, and `If-Match: *` always fails there. Starlette does files (StaticFiles), without If-Match.

Example:
    >>> def outcome(method, header, value, **options):
    ...     scope = {"type": "http", "method": method, "headers": [(header, value.encode())]}
    ...     try:
    ...         Preconditions(Request(scope)).check(now, **options)  # in FastAPI: Depends(Preconditions)
    ...     except HTTPException as error:
    ...         return error.status_code
    >>> now, before = Validators(etag("note", 7, 3)), etag("note", 7, 2)
    >>> outcome("GET", b"if-none-match", now.etag), outcome("GET", b"if-none-match", before)
    (304, None)
    >>> outcome("PUT", b"if-match", now.etag), outcome("PUT", b"if-match", before)
    (None, 412)
    >>> outcome("PUT", b"accept", "*/*", required=True)
    428

Source: RFC 9110 sections 8.8 and 13 (13.2.2 for the order); RFC 6585 section 3 (428).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import format_datetime, parsedate_to_datetime

from fastapi import Request
from starlette.exceptions import HTTPException

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def etag(*parts: object) -> str:
    """Return a strong entity tag for what the parts name: a table, a key, a version, a media type."""
    texts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    # With lengths: ("1", "23") and ("12", "3") are two versions.
    digest = hashlib.sha256(b"".join(b"%d %b" % (len(text), text) for text in texts)).digest()
    return f'"{base64.urlsafe_b64encode(digest[:15]).decode()}"'


@dataclass(frozen=True)
class Validators:
    """What tells versions apart.

    Attributes:
        etag: With its quotes. W/ in front of them means equal for readers, but not byte for byte: such a tag
            never satisfies If-Match.
        last_modified: When the resource changed, as an aware time.
    """

    etag: str
    last_modified: dt.datetime | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of a 200, 201 or 304."""
        if self.last_modified is None:
            return {"ETag": self.etag}
        in_utc = self.last_modified.astimezone(dt.UTC)
        return {"ETag": self.etag, "Last-Modified": format_datetime(in_utc, usegmt=True)}


class NotModified(HTTPException):
    """304: the client has it already."""


class PreconditionFailed(HTTPException):
    """412: it is not the version that the client named; nothing was done."""


class PreconditionRequired(HTTPException):
    """428: a change must say which version it changes."""


class Preconditions:
    """What a request demands of the version that it meets; a FastAPI dependency."""

    def __init__(self, request: Request) -> None:
        self._headers = request.headers
        self._is_read = request.method in {"GET", "HEAD"}

    def check(
        self, current: Validators | None, *, required: bool = False, headers: Mapping[str, str] | None = None
    ) -> None:
        """Return if the request is to be done, in the order of RFC 9110 section 13.2.2.

        Args:
            current: What a GET would show now; None says that nothing is there.
            required: A change of something that is there must name its version.
            headers: Cache-Control, Vary and the like, which a 304 has like the 200.

        Raises:
            NotModified: The client has this version.
            PreconditionFailed: The client named another version.
            PreconditionRequired: The client named none, and had to.
            HTTPException: 400, a header cannot be read.
        """
        match = self._tags("if-match")
        none_match = self._tags("if-none-match")
        unmodified_since = self._date("if-unmodified-since")
        modified = None
        if current is not None and current.last_modified is not None:
            modified = current.last_modified.replace(microsecond=0)
        failed = is_unnamed = False
        if match is not None:
            failed = not _names(match, current, weakly=False)
        elif unmodified_since and modified:
            failed = modified > unmodified_since
        else:  # If-None-Match says which version it shall not be: that is not the one that is changed
            is_unnamed = required and not self._is_read and current is not None
        if none_match is not None:  # then the date is not looked at
            is_known = _names(none_match, current, weakly=True)
        else:
            since = self._date("if-modified-since") if self._is_read else None
            is_known = bool(since and modified and modified <= since)
        if failed or (is_known and not self._is_read):
            raise PreconditionFailed(412, "It is not the version that you named: read it, then try again.")
        if is_unnamed:
            raise PreconditionRequired(428, "Send If-Match with the ETag of the version that you change.")
        if is_known and current is not None:
            raise NotModified(304, headers={**(headers or {}), **current.headers()})

    def _tags(self, name: str) -> list[str] | None:
        """Return the entity tags of a header, which may contain commas; None where it was not sent."""
        values = self._headers.getlist(name)
        if not values:
            return None
        if values == ["*"]:
            return values
        value = ",".join(values)
        if _TAG.sub("", value).strip(" \t,"):
            raise HTTPException(400, f'{name} must be "*" or a list of entity tags in quotes.')
        return _TAG.findall(value)  # perhaps an empty list, which names no version

    def _date(self, name: str) -> dt.datetime | None:
        """Return the time in a header; None where RFC 9110 says to ignore it."""
        values = self._headers.getlist(name)
        if len(values) != 1:
            return None
        try:
            date = parsedate_to_datetime(values[0])
        except (ValueError, TypeError, OverflowError):
            return None
        return date.replace(tzinfo=date.tzinfo or dt.UTC)


def _names(tags: list[str], current: Validators | None, *, weakly: bool) -> bool:
    if current is None:
        return False
    if tags == ["*"]:
        return True
    if weakly:
        return current.etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in tags}
    return current.etag in tags and not current.etag.startswith("W/")
