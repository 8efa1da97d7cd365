"""Watchlists over HTTP."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import Depends, Request, Response, status

from reference_app.identity.dependencies import ACCESS_PROBLEMS, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.conditional import NOT_MODIFIED, settled
from reference_app.infra.paging import Cursor, InvalidCursor, Page, PageSize, read_page
from reference_app.infra.problems import PreconditionFailed, PreconditionRequired
from reference_app.infra.routing import PrefixRouter
from reference_app.infra.state import AppState
from reference_app.patterns.conditional_request import Preconditions, Validators, etag
from reference_app.patterns.optimistic_version import VersionConflict
from reference_app.patterns.problem_details import InvalidRequest, documented
from reference_app.watchlists.models import Watchlist
from reference_app.watchlists.problems import UnknownInstrument, WatchlistNotFound
from reference_app.watchlists.schemas import WatchlistId, WatchlistIn, WatchlistOut, WatchlistPatch
from reference_app.watchlists.service import Check, WatchlistService

router = PrefixRouter(prefix="/watchlists", tags=["watchlists"], responses=documented(*ACCESS_PROBLEMS))

CACHE_CONTROL = "private, no-cache"
CHANGED = PreconditionFailed("The list was changed at this moment: read it, then try again.")


class WatchlistsState(AppState):
    """What the lifespan makes for watchlists."""

    watchlists: WatchlistService


class WatchlistsRequest(Request[WatchlistsState]):
    """As `AppRequest`, with the state of watchlists."""


async def watchlist_service(request: WatchlistsRequest) -> WatchlistService:
    """Return the service of this app."""
    return request.state["watchlists"]


Watchlists = Annotated[WatchlistService, Depends(watchlist_service)]
Reader = Annotated[Principal, requires("watchlists:read")]
Writer = Annotated[Principal, requires("watchlists:write")]


def _if_match(*, required: bool) -> dict[str, Any]:
    header = {
        "name": "If-Match",
        "in": "header",
        "required": required,
        "description": "The ETag of the list as you have seen it.",
        "schema": {"type": "string", "pattern": r'^("[!#-~]{1,100}"|\*)$'},
    }
    return {"parameters": [header]}


def _check(request: Request[Any]) -> Check:
    preconditions = Preconditions(request)

    def check(found: Watchlist | None) -> None:
        preconditions.check(None if found is None else _validators(found), required=True)

    return check


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
    Preconditions(request).check(_validators(found), headers={"Cache-Control": CACHE_CONTROL})
    return _reply(found)


@router.put(
    "/{watchlist_id}",
    response_model=WatchlistOut,
    openapi_extra=_if_match(required=False),
    responses=documented(
        WatchlistNotFound, UnknownInstrument, InvalidRequest, PreconditionFailed, PreconditionRequired
    )
    | {201: {"description": "The list is new.", "model": WatchlistOut}},
)
async def put_watchlist(
    watchlist_id: WatchlistId, body: WatchlistIn, request: Request, user: Writer, watchlists: Watchlists
) -> Response:
    """Create a list under an id of yours, or replace it as a whole; replacing needs If-Match."""
    try:
        found, is_new = await watchlists.put(user.id, watchlist_id, body.model_dump(), _check(request))
    except VersionConflict:
        raise CHANGED from None
    reply = _reply(found)
    if is_new:
        reply.status_code = status.HTTP_201_CREATED
        reply.headers["Location"] = request.url.path
    return reply


@router.patch(
    "/{watchlist_id}",
    response_model=WatchlistOut,
    openapi_extra=_if_match(required=True),
    responses=documented(
        WatchlistNotFound, UnknownInstrument, InvalidRequest, PreconditionFailed, PreconditionRequired
    ),
)
async def patch_watchlist(
    watchlist_id: WatchlistId, body: WatchlistPatch, request: Request, user: Writer, watchlists: Watchlists
) -> Response:
    """Change what the body names, by JSON Merge Patch: what is left out stays, null takes away."""
    try:
        found = await watchlists.patch(user.id, watchlist_id, body.changes(), _check(request))
    except VersionConflict:
        raise CHANGED from None
    return _reply(found)


@router.delete(
    "/{watchlist_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=_if_match(required=True),
    responses=documented(WatchlistNotFound, PreconditionFailed, PreconditionRequired),
)
async def delete_watchlist(
    watchlist_id: WatchlistId, request: Request, user: Writer, watchlists: Watchlists
) -> None:
    """Delete one of your watchlists, in the version that you have seen."""
    try:
        await watchlists.delete(user.id, watchlist_id, _check(request))
    except VersionConflict:
        raise CHANGED from None


def _validators(found: Watchlist) -> Validators:
    # The whole time and not the version alone: a list that was deleted and put anew begins again at 1.
    updated_at = found.updated_at.astimezone(dt.UTC)
    return Validators(etag("watchlist", found.id, found.version, updated_at.isoformat()), settled(updated_at))


def _reply(found: Watchlist) -> Response:
    headers = {"Cache-Control": CACHE_CONTROL, **_validators(found).headers()}
    body = WatchlistOut.model_validate(found).model_dump_json()
    return Response(body, headers=headers, media_type="application/json")
