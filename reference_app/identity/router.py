"""Users and tokens over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Response, status

from reference_app.identity.dependencies import CurrentUser
from reference_app.identity.problems import (
    InvalidGrant,
    InvalidScope,
    NameTaken,
    NotAuthenticated,
    TooManySignIns,
)
from reference_app.identity.schemas import PasswordGrant, TokenOut, UserIn, UserOut
from reference_app.identity.service import IdentityService
from reference_app.infra.http.cache_control import CacheControl, set_cache_control
from reference_app.infra.http.problems import ServiceUnavailable
from reference_app.infra.http.state import AppRequest, service_of
from reference_app.patterns.load_shedding import Overloaded
from reference_app.patterns.problem_details import documented

router = APIRouter(prefix="/v1", tags=["identity"])
routers = (router,)

Identity = Annotated[IdentityService, service_of(IdentityService)]


@router.post(
    "/users",
    status_code=status.HTTP_201_CREATED,
    responses=documented(NameTaken, TooManySignIns, ServiceUnavailable),
)
async def register_user(body: UserIn, request: AppRequest, response: Response, identity: Identity) -> UserOut:
    """Register a user, who can then get tokens."""
    try:
        user = await identity.register(body.name, body.password.get_secret_value())
    except Overloaded as error:
        raise _too_many(error) from None
    response.headers["Location"] = request.app.url_path_for("read_current_user")
    return UserOut.model_validate(user)


@router.get("/users/me", responses=documented(NotAuthenticated))
async def read_current_user(user: CurrentUser, identity: Identity) -> UserOut:
    """Return the user of the access token."""
    return UserOut.model_validate(await identity.user(user.id))


@router.post("/tokens", responses=documented(InvalidGrant, InvalidScope, TooManySignIns, ServiceUnavailable))
async def issue_token(
    form: Annotated[PasswordGrant, Form()], response: Response, identity: Identity
) -> TokenOut:
    """Exchange name and password for an access token (OAuth2 password flow, RFC 6749 section 4.3)."""
    password = form.password.get_secret_value()
    try:
        token, scopes = await identity.sign_in(form.username, password, form.scope.split())
    except Overloaded as error:
        raise _too_many(error) from None
    set_cache_control(response, CacheControl.NO_STORE)  # RFC 6749 section 5.1
    return TokenOut(access_token=token, expires_in=identity.tokens.ttl_s, scope=" ".join(sorted(scopes)))


def _too_many(error: Overloaded) -> TooManySignIns:
    return TooManySignIns(headers={"Retry-After": str(round(error.retry_after_s))})
