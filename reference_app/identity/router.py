"""Users and tokens over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Response, status

from reference_app.identity.dependencies import CurrentUser, IdentityRequest
from reference_app.identity.problems import (
    InvalidGrant,
    InvalidScope,
    NameTaken,
    NotAuthenticated,
    TooManySignIns,
)
from reference_app.identity.schemas import PasswordGrant, TokenOut, UserIn, UserOut
from reference_app.identity.service import IdentityService
from reference_app.infra.problems import ServiceUnavailable
from reference_app.patterns.load_shedding import Overloaded
from reference_app.patterns.problem_details import documented

router = APIRouter(tags=["identity"])


async def identity_service(request: IdentityRequest) -> IdentityService:
    """Return the service of this app."""
    state = request.state
    return IdentityService(state["sessions"], state["passwords"], state["tokens"])


Identity = Annotated[IdentityService, Depends(identity_service)]


@router.post(
    "/users",
    status_code=status.HTTP_201_CREATED,
    responses=documented(NameTaken, TooManySignIns, ServiceUnavailable),
)
async def register_user(
    body: UserIn, request: IdentityRequest, response: Response, identity: Identity
) -> UserOut:
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
    form: Annotated[PasswordGrant, Form()], response: Response, identity: Identity, request: IdentityRequest
) -> TokenOut:
    """Exchange name and password for an access token (OAuth2 password flow, RFC 6749 section 4.3)."""
    password = form.password.get_secret_value()
    try:
        token, scopes = await identity.sign_in(form.username, password, form.scope.split())
    except Overloaded as error:
        raise _too_many(error) from None
    response.headers["Cache-Control"] = "no-store"  # RFC 6749 section 5.1
    expires_in = request.state["tokens"].ttl_s
    return TokenOut(access_token=token, expires_in=expires_in, scope=" ".join(sorted(scopes)))


def _too_many(error: Overloaded) -> TooManySignIns:
    return TooManySignIns(headers={"Retry-After": str(round(error.retry_after_s))})
