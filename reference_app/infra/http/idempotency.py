"""The Idempotency-Key of a request, and what is answered where it cannot be honoured.

Every POST that makes something or moves money reads it: a client that sends a key must not learn from its
balance that the service has ignored it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request, Response, status

from reference_app.infra.database.once import Once
from reference_app.infra.http.cache_control import CacheControl, set_cache_control
from reference_app.patterns.idempotency_key import IdempotencyError, Reply, fingerprint, parse_key
from reference_app.patterns.problem_details import Problem

Done = TypeVar("Done")

HEADER = "Idempotency-Key"


class InvalidIdempotencyKey(Problem):
    """`Idempotency-Key` is missing where it must be sent, or is no key. Send one such as a UUID."""

    type, title, status = "/problems/invalid-idempotency-key", "The idempotency key is not valid", 400


class RequestInProgress(Problem):
    """A request with this idempotency key is being served at this moment; try again for its reply."""

    type, title, status = "/problems/request-in-progress", "The request is in progress", 409


class IdempotencyKeyReused(Problem):
    """The idempotency key belongs to another request; take a new one."""

    type, title, status = "/problems/idempotency-key-reused", "The idempotency key is used", 422


#: For `responses=documented(*IDEMPOTENCY_PROBLEMS)` of routes that read a key.
IDEMPOTENCY_PROBLEMS = (InvalidIdempotencyKey, RequestInProgress, IdempotencyKeyReused)


def idempotency_key(*, required: bool) -> dict[str, object]:
    """Return the header for `openapi_extra=`; FastAPI would answer 422 where the draft asks for 400."""
    parameter = {
        "name": HEADER,
        "in": "header",
        "required": required,
        "description": "Chosen by you, new for each request, the same when you send that request again.",
        # Quoted as the draft has it, or bare as most clients send it.
        "schema": {"type": "string", "pattern": r'^("[ !#-\[\]-~]{1,255}"|[A-Za-z0-9_.:~-]{1,255})$'},
        "example": "8e03978e-40d5-43e8",
    }
    return {"parameters": [parameter]}


async def once_of(
    request: Request[Any], render: Callable[[Done], Reply], *, required: bool = False, secret: str = ""
) -> Once[Done]:
    """Return the key of a request, with what tells it from other requests.

    Args:
        request: Its body has been read by the route, and is kept.
        render: Makes the reply of what was done.
        required: Refuse a request without a key.
        secret: Where the body has a password: the fingerprint is stored, and without a secret in it one could
            try passwords against it, faster than against their hashes.

    Raises:
        InvalidIdempotencyKey: There is none although it is required, there are several, or it is no key.
    """
    values = request.headers.getlist(HEADER)
    if not values and not required:
        return Once(None, b"", render)
    with idempotency_problems():
        key = parse_key(values)
    target = f"{request.url.path}?{request.url.query}"
    parts = (request.method, target, await request.body())
    return Once(key, fingerprint(*parts, *([secret] if secret else [])), render)


@contextmanager
def idempotency_problems() -> Iterator[None]:
    """Answer what a key can raise inside of the block."""
    try:
        yield
    except IdempotencyError as error:
        if error.status == status.HTTP_409_CONFLICT:
            raise RequestInProgress(str(error), {"Retry-After": "1"}) from None
        kind = IdempotencyKeyReused if error.status == 422 else InvalidIdempotencyKey
        raise kind(str(error)) from None


def response_of(reply: Reply, cache_control: CacheControl = CacheControl.NO_STORE) -> Response:
    """Return the response, and say where it was given before."""
    response = Response(reply.body, reply.status, reply.headers, "application/json")
    set_cache_control(response, cache_control)
    if reply.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response
