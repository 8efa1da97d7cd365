"""Users and tokens over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Response, status

from reference_app.identity.dependencies import CurrentUser
from reference_app.identity.models import User
from reference_app.identity.problems import (
    InvalidGrant,
    InvalidScope,
    NameTaken,
    NotAuthenticated,
    TooManyGuesses,
    TooManySignIns,
)
from reference_app.identity.schemas import PasswordGrant, TokenOut, UserIn, UserOut
from reference_app.identity.service import IdentityService
from reference_app.infra.http.cache_control import CacheControl, set_cache_control
from reference_app.infra.http.idempotency import (
    IDEMPOTENCY_PROBLEMS,
    idempotency_key,
    idempotency_problems,
    once_of,
    response_of,
)
from reference_app.infra.http.problems import ServiceUnavailable, TooManyRequests
from reference_app.infra.http.state import AppRequest, service_of
from reference_app.patterns.idempotency_key import Reply
from reference_app.patterns.load_shedding import Overloaded
from reference_app.patterns.problem_details import InvalidRequest, documented
from reference_app.settings import token_secret

router = APIRouter(prefix="/v1", tags=["identity"])
routers = (router,)

Identity = Annotated[IdentityService, service_of(IdentityService)]


@router.post(
    "/users",
    status_code=status.HTTP_201_CREATED,
    response_model=UserOut,
    openapi_extra=idempotency_key(required=False),
    responses=documented(
        NameTaken, TooManySignIns, ServiceUnavailable, InvalidRequest, *IDEMPOTENCY_PROBLEMS
    ),
)
async def register_user(body: UserIn, request: AppRequest, identity: Identity) -> Response:
    """Register a user, who can then get tokens; with an Idempotency-Key a repeated request gets one reply."""

    def registered(user: User) -> Reply:
        location = str(request.app.url_path_for("read_current_user"))
        made = UserOut.model_validate(user).model_dump_json().encode()
        return Reply(status.HTTP_201_CREATED, made, {"Location": location})

    once = await once_of(request, registered, secret=token_secret(request.state["settings"]))
    try:
        with idempotency_problems():
            reply = await identity.register_once(body.name, body.password.get_secret_value(), once)
    except Overloaded as error:
        raise _too_many(error) from None
    return response_of(reply)


@router.get("/users/me", responses=documented(NotAuthenticated))
async def read_current_user(user: CurrentUser, identity: Identity) -> UserOut:
    """Return the user of the access token."""
    return UserOut.model_validate(await identity.user(user.id))


@router.post(
    "/tokens",
    responses=documented(
        InvalidGrant, InvalidScope, TooManyRequests, TooManyGuesses, TooManySignIns, ServiceUnavailable
    ),
)
async def issue_token(
    form: Annotated[PasswordGrant, Form()], request: AppRequest, response: Response, identity: Identity
) -> TokenOut:
    """Exchange name and password for an access token (OAuth2 password flow, RFC 6749 section 4.3)."""
    password = form.password.get_secret_value()
    try:
        address = request.client.host if request.client else "unknown"
        token, scopes = await identity.sign_in(form.username, password, form.scope.split(), address=address)
    except Overloaded as error:
        raise _too_many(error) from None
    set_cache_control(response, CacheControl.NO_STORE)  # RFC 6749 section 5.1
    return TokenOut(access_token=token, expires_in=identity.tokens.ttl_s, scope=" ".join(sorted(scopes)))


def _too_many(error: Overloaded) -> TooManySignIns:
    return TooManySignIns(headers={"Retry-After": str(round(error.retry_after_s))})
