"""Conditional requests for all nouns: 304 for what the client has, If-Match for changes (RFC 9110, 13).

A noun says how one of its rows looks on the wire (a `Representation`) and what tells its versions apart
(`Validators`); everything that HTTP has to say about that stands here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from fastapi import Request, Response, status
from pydantic import BaseModel

from reference_app.infra.http.cache_control import CacheControl
from reference_app.infra.http.problems import PreconditionFailed, PreconditionRequired
from reference_app.patterns.conditional_request import Preconditions, Validators, etag
from reference_app.patterns.optimistic_version import VersionConflict
from reference_app.patterns.problem_details import documented

Row = TypeVar("Row")

#: A read may answer these to a conditional request; its route takes them as `responses=`.
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The client has this version already."},
    **documented(PreconditionFailed),
}
#: A change answers these where the client names another version, or none; `documented(...)` takes them.
VERSION_PROBLEMS = (PreconditionFailed, PreconditionRequired)

#: `*` stands for any version; a list of tags is accepted too, and is not offered.
IF_MATCH_PATTERN = r'^("[!#-~]{1,100}"|\*)$'

#: Seconds after a change in which its time is kept back: the rest of its second, and what clocks differ by.
SETTLING = dt.timedelta(seconds=2)


def if_match(what: str, *, required: bool) -> dict[str, Any]:
    """Return the `openapi_extra=` of a route that changes a known version.

    Args:
        what: The user's word for it, such as "order".
        required: Whether a change without If-Match is refused.
    """
    header = {
        "name": "If-Match",
        "in": "header",
        "required": required,
        "description": f"The ETag of the {what} as you have seen it.",
        "schema": {"type": "string", "pattern": IF_MATCH_PATTERN},
    }
    return {"parameters": [header]}


def version_check(
    request: Request[Any], validators: Callable[[Row], Validators], *, required: bool = False
) -> Callable[[Row | None], None]:
    """Return what raises where a row, as it was read now, is not the version that the client has seen.

    The service calls it inside the transaction that changes the row; None stands for a row that is not there.

    Args:
        request: Its If-Match, If-None-Match and dates count.
        validators: Tells the versions of a row apart.
        required: A change of a row that is there must name its version.
    """
    preconditions = Preconditions(request)

    def check(row: Row | None) -> None:
        preconditions.check(None if row is None else validators(row), required=required)

    return check


@contextmanager
def conflicts_refused(what: str) -> Iterator[None]:
    """Answer 412 where a row was changed between the check of its version and the write.

    Args:
        what: The user's word for the row, such as "order".

    Raises:
        PreconditionFailed: In place of `VersionConflict`.
    """
    try:
        yield
    except VersionConflict:
        message = f"The {what} was changed at this moment: read it, then try again."
        raise PreconditionFailed(message) from None


def settled(changed_at: dt.datetime) -> dt.datetime | None:
    """Return when something changed, for Last-Modified, or None where that would not be safe to send yet.

    Dates of HTTP have whole seconds. Who was given the time of a change in the second in which it happened
    would be told 304 after another change in that same second (RFC 9110 section 8.8.2.2).

    Args:
        changed_at: The moment, with a time zone.
    """
    return changed_at if dt.datetime.now(dt.UTC) - changed_at > SETTLING else None


@dataclass(frozen=True)
class Representation:
    """JSON that is ready to be sent, with what tells it from other versions; it may be sent often.

    Attributes:
        body: The JSON.
        validators: Its ETag, and when it changed where that is known.
        cache_control: Who may keep it; a 304 says so too.
    """

    body: bytes
    validators: Validators
    cache_control: CacheControl = CacheControl.ASK_AGAIN

    @classmethod
    def of(
        cls,
        content: BaseModel | bytes,
        *,
        cache_control: CacheControl = CacheControl.ASK_AGAIN,
        last_modified: dt.datetime | None = None,
    ) -> Representation:
        """Return the representation of content that has no version of its own: its ETag is made of its bytes.

        Args:
            content: A model, or JSON as bytes.
            cache_control: Who may keep it.
            last_modified: When it last changed, with a time zone.
        """
        body = content if isinstance(content, bytes) else content.model_dump_json().encode()
        # The bytes themselves make the tag: it is right whatever they say, and cheaper than sending them.
        return cls(body, Validators(etag(body), last_modified), cache_control)

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Cache-Control, ETag and perhaps Last-Modified."""
        return {"Cache-Control": self.cache_control, **self.validators.headers()}

    def answer(self, request: Request[Any]) -> Response:
        """Return the reply to a request that reads.

        Raises:
            NotModified: The client has this version.
            PreconditionFailed: The client wants another version.
        """
        Preconditions(request).check(self.validators, headers={"Cache-Control": self.cache_control})
        return self.reply()

    def reply(self, status_code: int = status.HTTP_200_OK) -> Response:
        """Return the reply to a request that has changed something, which is not asked for its conditions."""
        return Response(self.body, status_code, headers=self.headers, media_type="application/json")
