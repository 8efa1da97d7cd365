"""Answers with validators: 304 for what the client has (RFC 9110 section 13), Cache-Control for both."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

from reference_app.infra.problems import PreconditionFailed
from reference_app.patterns.conditional_request import Preconditions, Validators, etag
from reference_app.patterns.problem_details import documented

#: For `responses=`: what a read may answer to a conditional request.
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The client has this version already."},
    **documented(PreconditionFailed),
}


#: Seconds after a change in which its time is kept back: the rest of its second, and what clocks differ by.
SETTLING = dt.timedelta(seconds=2)


def settled(changed_at: dt.datetime) -> dt.datetime | None:
    """Return when something changed, for Last-Modified, or None where that would not be safe to send yet.

    Dates of HTTP have whole seconds. Who was given the time of a change in the second in which it happened
    would be told 304 after another change in that same second (RFC 9110 section 8.8.2.2).

    Args:
        changed_at: With a time zone.
    """
    return changed_at if dt.datetime.now(dt.UTC) - changed_at > SETTLING else None


@dataclass(frozen=True)
class Representation:
    """JSON that is ready to be sent, with what tells it from other versions; made once, sent often."""

    body: bytes
    validators: Validators
    cache_control: Mapping[str, str]
    headers: Mapping[str, str]

    @classmethod
    def of(
        cls, content: BaseModel | bytes, *, cache_control: str, last_modified: dt.datetime | None = None
    ) -> Representation:
        """Return the representation of some content.

        Args:
            content: A model, or JSON as bytes.
            cache_control: Who may keep it, and for how long.
            last_modified: When it last changed, with a time zone.
        """
        body = content if isinstance(content, bytes) else content.model_dump_json().encode()
        # Of the bytes themselves: right whatever they are made of, and cheaper than sending them.
        validators = Validators(etag(body), last_modified)
        kept = {"Cache-Control": cache_control}
        return cls(body, validators, kept, kept | validators.headers())

    def answer(self, request: Request[Any]) -> Response:
        """Return the reply for a request.

        Raises:
            NotModified: The client has this version.
            PreconditionFailed: The client wants another version.
        """
        Preconditions(request).check(self.validators, headers=self.cache_control)
        return Response(self.body, headers=self.headers, media_type="application/json")
