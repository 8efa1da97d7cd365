"""Watchlists over HTTP."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import Request, Response, status

from reference_app.identity.dependencies import ACCESS_PROBLEMS, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.http.conditional import (
    NOT_MODIFIED,
    VERSION_PROBLEMS,
    Representation,
    conflicts_refused,
    if_match,
    settled,
    version_check,
)
from reference_app.infra.http.paging import Cursor, InvalidCursor, Page, PageSize, read_page
from reference_app.infra.http.routing import PrefixRouter
from reference_app.infra.http.state import service_of
from reference_app.patterns.conditional_request import Validators, etag
from reference_app.patterns.problem_details import InvalidRequest, documented
from reference_app.watchlists.models import Watchlist
from reference_app.watchlists.problems import UnknownInstrument, WatchlistNotFound
from reference_app.watchlists.schemas import WatchlistId, WatchlistIn, WatchlistOut, WatchlistPatch
from reference_app.watchlists.service import WatchlistService

router = PrefixRouter(prefix="/v1/watchlists", tags=["watchlists"], responses=documented(*ACCESS_PROBLEMS))
routers = (router,)

#: The user's word for what may have changed.
LIST = "list"

Watchlists = Annotated[WatchlistService, service_of(WatchlistService)]
Reader = Annotated[Principal, requires("watchlists:read")]
Writer = Annotated[Principal, requires("watchlists:write")]


@router.get("", responses=documented(InvalidCursor))
async def list_watchlists(
    request: Request,
    response: Response,
    user: Reader,
    watchlists: Watchlists,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> Page[WatchlistOut]:
    """List your watchlists."""
    found = await watchlists.watchlists(user.id, cursor, limit)
    return read_page(found, WatchlistOut.model_validate, request, response)


@router.get(
    "/{watchlist_id}", response_model=WatchlistOut, responses=NOT_MODIFIED | documented(WatchlistNotFound)
)
async def read_watchlist(
    watchlist_id: WatchlistId, request: Request, user: Reader, watchlists: Watchlists
) -> Response:
    """Return one of your watchlists, with the ETag that changing it needs."""
    found = await watchlists.watchlist(user.id, watchlist_id)
    return _representation(found).answer(request)


@router.put(
    "/{watchlist_id}",
    response_model=WatchlistOut,
    openapi_extra=if_match(LIST, required=False),
    responses=documented(WatchlistNotFound, UnknownInstrument, InvalidRequest, *VERSION_PROBLEMS)
    | {201: {"description": "The list is new.", "model": WatchlistOut}},
)
async def put_watchlist(
    watchlist_id: WatchlistId, body: WatchlistIn, request: Request, user: Writer, watchlists: Watchlists
) -> Response:
    """Create a list under an id of yours, or replace it as a whole; replacing needs If-Match."""
    check = version_check(request, _validators, required=True)
    with conflicts_refused(LIST):
        found, is_new = await watchlists.put(user.id, watchlist_id, body.model_dump(), check)
    if not is_new:
        return _representation(found).reply()
    reply = _representation(found).reply(status.HTTP_201_CREATED)
    reply.headers["Location"] = request.url.path
    return reply


@router.patch(
    "/{watchlist_id}",
    response_model=WatchlistOut,
    openapi_extra=if_match(LIST, required=True),
    responses=documented(WatchlistNotFound, UnknownInstrument, InvalidRequest, *VERSION_PROBLEMS),
)
async def patch_watchlist(
    watchlist_id: WatchlistId, body: WatchlistPatch, request: Request, user: Writer, watchlists: Watchlists
) -> Response:
    """Change what the body names, by JSON Merge Patch: what is left out stays, null takes away."""
    check = version_check(request, _validators, required=True)
    with conflicts_refused(LIST):
        found = await watchlists.patch(user.id, watchlist_id, body.changes(), check)
    return _representation(found).reply()


@router.delete(
    "/{watchlist_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=if_match(LIST, required=True),
    responses=documented(WatchlistNotFound, *VERSION_PROBLEMS),
)
async def delete_watchlist(
    watchlist_id: WatchlistId, request: Request, user: Writer, watchlists: Watchlists
) -> None:
    """Delete one of your watchlists, in the version that you have seen."""
    check = version_check(request, _validators, required=True)
    with conflicts_refused(LIST):
        await watchlists.delete(user.id, watchlist_id, check)


def _validators(found: Watchlist) -> Validators:
    # The whole time and not the version alone: a list that was deleted and put anew begins again at 1.
    updated_at = found.updated_at.astimezone(dt.UTC)
    return Validators(etag("watchlist", found.id, found.version, updated_at.isoformat()), settled(updated_at))


def _representation(found: Watchlist) -> Representation:
    return Representation(WatchlistOut.model_validate(found).model_dump_json().encode(), _validators(found))
