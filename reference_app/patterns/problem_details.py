# /// script
# requires-python = ">=3.11"
# dependencies = ["fastapi>=0.128"]
# ///
"""Every error of a FastAPI service as `application/problem+json`, and none of them repeats the input.

Use it in any HTTP API: clients parse one shape and branch on `type`, which is stable while texts change.
FastAPI's own 422 body contains the rejected input, so a password that is too short comes back in the reply
and in every log on its way; 413 and 500 come as plain text.

Do not use it where another error format is agreed (GraphQL, JSON:API, gRPC).

Limits: an error after the first body byte cannot become a problem. Messages of your own validators are sent
as they are, so they must not contain the value; what a library fills into its messages is cut off. Pointers
name the members that the client sent. `errors` holds the first hundred. Give `max_body_size` to routers and
not to the app, whose 413 is made outside of all middleware.

Instead: `fastapi-problem`.

Example:
    >>> class OutOfCredit(Problem):
    ...     type, title, status = "/problems/out-of-credit", "Out of credit", 409
    >>> app = FastAPI(responses=documented(OutOfCredit))
    >>> install(app)
    >>> OutOfCredit(balance="30.00").response().body.decode()
    '{"type":"/problems/out-of-credit","title":"Out of credit","status":409,"balance":"30.00"}'

Source: RFC 9457, Problem Details for HTTP APIs; RFC 6901 for the pointers in `errors`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http.client import responses
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic_core import to_jsonable_python
from pydantic_core.core_schema import ErrorType
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"
_SHAPE = {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"}}
SCHEMA = {"type": "object", "required": [*_SHAPE], "properties": _SHAPE}
MAX_ERRORS = 100
#: Where FastAPI says that it found the input. Errors of other validators begin with a field, or are empty.
_SOURCES = ("body", "query", "path", "header", "cookie")
#: Errors of pydantic whose text holds what the schema says, and nothing that was sent.
_PLAIN = {*get_args(ErrorType)} - {"value_error", "union_tag_invalid", "uuid_parsing"}
#: What describes a body that is replaced. All else stays: Retry-After, Allow, WWW-Authenticate, cookies.
_OF_THE_BODY = {b"content-type", b"content-length", b"content-encoding", b"content-language", b"etag"}
#: RFC 9110 renamed two; the standard library follows in Python 3.13, and titles must not change with it.
TITLES = responses | {413: "Content Too Large", 422: "Unprocessable Content"}


class Problem(Exception):
    """Base of the errors that a client may see.

    Args:
        detail: For the person who reads it.
        headers: Of the reply.
        members: Further JSON members.

    Attributes:
        type: What a client branches on.
        title: The kind of problem, the same each time.
        status: The status of the reply.
    """

    type: str = "about:blank"
    title: str = "Internal Server Error"
    status: int = 500

    def __init__(self, detail: str = "", headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers = headers
        self.members = members

    def response(self) -> JSONResponse:
        """Return the reply for this problem."""
        body = {"type": self.type, "title": self.title, "status": self.status, "detail": self.detail}
        body = {name: value for name, value in body.items() if value} | self.members
        return JSONResponse(body, self.status, self.headers, MEDIA_TYPE)


class InvalidRequest(Problem):
    """The request does not fit its schema; the member `errors` says where and why."""

    type, title, status = "/problems/invalid-request", "The request is not valid", 422


def of_status(status: int, detail: Any = "", headers: Mapping[str, str] | None = None) -> Problem:
    """Return a problem of type about:blank, where the status says it all (RFC 9457 section 4.2.1).

    Args:
        status: The status of the reply.
        detail: Text for the person who reads it. Any other JSON value, which FastAPI allows and RFC 9457 does
            not, becomes the member `details`.
        headers: Of the reply.
    """
    members = {} if isinstance(detail, str) else {"details": to_jsonable_python(detail, fallback=str)}
    problem = Problem("" if members or detail == TITLES.get(status) else detail, headers, **members)
    problem.status = status
    problem.title = TITLES.get(status, "Error")
    return problem


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route or router that can raise these problems."""
    documents: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        content = {"schema": SCHEMA, "examples": {}}
        entry = documents.setdefault(problem.status, {"description": "", "content": {MEDIA_TYPE: content}})
        entry["description"] += f"{problem.title}. "
        body = {"type": problem.type, "title": problem.title, "status": problem.status}
        entry["content"][MEDIA_TYPE]["examples"][problem.__name__] = {"value": body}
    return documents


def install(app: FastAPI) -> None:
    """Make the app answer every error as a problem; add CORS after this, so that it wraps the errors too."""
    for kind in (Problem, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _reply)
    app.add_middleware(ProblemMiddleware)


async def _reply(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        error = InvalidRequest(errors=[_explain(item) for item in error.errors()[:MAX_ERRORS]])
    elif isinstance(error, HTTPException):
        if error.status_code in {204, 304}:  # no body allowed
            return Response(status_code=error.status_code, headers=error.headers)
        error = of_status(error.status_code, error.detail, error.headers)
    return (error if isinstance(error, Problem) else of_status(500)).response()


def _explain(item: Any) -> dict[str, str]:
    """Say where and why, without what the client sent: `input`, and values that were filled into the text."""
    item = item if isinstance(item, Mapping) else {}
    kind, loc = item.get("type"), item.get("loc", ())
    text = "unknown tag" if kind == "union_tag_invalid" else str(item.get("msg", ""))
    path = [*loc] if isinstance(loc, list | tuple) else [loc]
    source = path.pop(0) if path and path[0] in _SOURCES else "request"
    for value in [] if kind in _PLAIN else dict(item.get("ctx") or {}).values():
        if not isinstance(value, Exception):  # else it is your own validator's, and its text is yours
            text = text.partition(str(value) or "\0")[0].strip(" ,:'\"")
    steps = [] if kind == "json_invalid" else path  # the parser puts its position there
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return {"in": source, "pointer": pointer, "detail": text or "is not valid"}


class ProblemMiddleware:
    """Turns uncaught exceptions and the framework's plain-text errors (413) into problems.

    Inside CORS, so that a 500 carries its headers; the handler for `Exception` is outside of all middleware.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; answer for it where it failed."""
        started = replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))  # ASGI lets it be left out
                kind = dict(headers).get(b"content-type", b"")
                replaced = message["status"] >= 400 and kind.startswith(b"text/plain")
                if replaced:
                    problem = of_status(message["status"]).response()
                    problem.raw_headers += [it for it in headers if it[0].lower() not in _OF_THE_BODY]
                    await problem(scope, receive, send)
            if not replaced:
                await send(message)

        try:
            await self.app(scope, receive, send_problem if scope["type"] == "http" else send)
        except Exception:
            if started or scope["type"] != "http":
                raise  # too late for a reply; the server closes the connection
            # %r: a path may hold ends of lines, and so lines for the log that nobody wrote.
            logging.getLogger(__name__).exception("%s %r failed", scope["method"], scope["path"])
            await of_status(500).response()(scope, receive, send)
