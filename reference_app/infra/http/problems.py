"""The problems that any route may answer with, and the one place where database errors become problems."""

from __future__ import annotations

import logging
import socket

import asyncpg
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from reference_app.infra.http.paging import InvalidCursor
from reference_app.patterns import keyset_page
from reference_app.patterns.problem_details import InvalidRequest, Problem, documented, install, of_status
from reference_app.patterns.serializable_retry import RetriesExhausted

logger = logging.getLogger(__name__)

#: After these SQLSTATE classes and codes the same request may succeed: connection lost (08), not enough
#: resources (53), shut down or cancelled (57), serialization failure (40001), deadlock (40P01), lock not
#: available (55P03).
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
RETRYABLE = ("08", "53", "57", "40001", "40P01", "55P03")

#: The driver raises these where a statement goes past SQLAlchemy, which would have wrapped them.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError)
#: Of all that an OSError can be, what is raised where no connection is made, or where it is lost. A file that
#: is not there is a fault of the service.
NO_CONNECTION = (ConnectionError, TimeoutError, socket.gaierror)


class ServiceUnavailable(Problem):
    """The database did not answer in time; read before you repeat a write: it may have been booked."""

    type, title, status = "/problems/service-unavailable", "The service is not available now", 503


class BadRequest(Problem):
    """A header or the body cannot be read at all, such as text that is no UTF-8."""

    title, status = "Bad Request", 400


class ContentTooLarge(Problem):
    """The body is larger than the service accepts."""

    title, status = "Content Too Large", 413


class NotAcceptable(Problem):
    """The client takes none of the representations that there are."""

    title, status = "Not Acceptable", 406


class PreconditionFailed(Problem):
    """It is not the version that the client named; nothing was done."""

    title, status = "Precondition Failed", 412


class PreconditionRequired(Problem):
    """A change must say which version it changes."""

    title, status = "Precondition Required", 428


class TooManyRequests(Problem):
    """The client has used up its requests; Retry-After says when there are more."""

    type, title, status = "/problems/too-many-requests", "Too many requests", 429


class InternalError(Problem):
    """A fault of the service, which its log explains."""


#: Every route under /v1 may answer these; the app includes its routers with them as `responses=`.
COMMON_RESPONSES = documented(
    BadRequest, InvalidRequest, ContentTooLarge, TooManyRequests, InternalError, ServiceUnavailable
)


def install_problems(app: FastAPI, retry_after_s: int) -> None:
    """Answer every error of the app as a problem.

    Args:
        app: The app under construction.
        retry_after_s: Seconds after which clients shall try again after a 503.
    """
    install(app)

    async def unavailable_or_fault(request: Request, error: Exception) -> JSONResponse:
        if _is_retryable(error):
            logger.warning("%s %s: %s", request.method, request.url.path, type(error).__name__)
            return ServiceUnavailable(headers={"Retry-After": str(retry_after_s)}).response()
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return of_status(500).response()

    async def invalid_cursor(request: Request, error: Exception) -> JSONResponse:
        return InvalidCursor(f"{error}.").response()

    app.add_exception_handler(keyset_page.InvalidCursor, invalid_cursor)
    # RetriesExhausted ends a row of conflicts, and a conflict is worth another try later.
    others = (PoolTimeoutError, TimeoutError, ConnectionError, RetriesExhausted)
    # OSError: no connection could be made; asyncio raises it bare where a name has two addresses.
    for kind in (DBAPIError, EmulatedDBAPIException, *DRIVER_ERRORS, *others, OSError):
        app.add_exception_handler(kind, unavailable_or_fault)


def _is_retryable(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return error.connection_invalidated or state.startswith(RETRYABLE)
    if isinstance(error, EmulatedDBAPIException):  # from a connection that SQLAlchemy did not wrap
        state = getattr(error, "sqlstate", None)
        return state is None or state.startswith(RETRYABLE)
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(RETRYABLE)
    if isinstance(error, OSError):
        return type(error) is OSError or isinstance(error, NO_CONNECTION)
    return True
