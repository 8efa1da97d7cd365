"""Answers with validators: 304 for what the client has (RFC 9110 section 13), Cache-Control for both."""

from __future__ import annotations

import datetime as dt
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


def validated(
    request: Request[Any],
    content: BaseModel | bytes,
    *,
    cache_control: str,
    last_modified: dt.datetime | None = None,
) -> Response:
    """Return the content as JSON with its validators.

    Args:
        request: For what the client has already.
        content: A model, or JSON as bytes.
        cache_control: Who may keep it, and for how long.
        last_modified: When it last changed, with a time zone.

    Raises:
        NotModified: The client has this version.
        PreconditionFailed: The client wants another version.
    """
    body = content if isinstance(content, bytes) else content.model_dump_json().encode()
    # Of the bytes themselves: right whatever they are made of, and cheaper than sending them.
    validators = Validators(etag(body), last_modified)
    headers = {"Cache-Control": cache_control}
    Preconditions(request).check(validators, headers=headers)
    return Response(body, headers=headers | validators.headers(), media_type="application/json")
