"""What routes of other nouns ask for: `user: CurrentUser`, or a principal with scopes.

    OrderWriter = Annotated[Principal, requires("orders:write")]

    @router.post("/orders", responses=documented(*ACCESS_PROBLEMS))
    async def place_order(body: OrderIn, user: OrderWriter) -> OrderOut: ...

It is one dependency and asks no database. A chain of four (header, token, user, scopes) reads well in small
examples, and costs a route four calls for each request.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.security import OAuth2PasswordBearer, SecurityScopes
from starlette.types import Scope

from reference_app.identity.problems import NotAllowed, NotAuthenticated
from reference_app.identity.service import IdentityService
from reference_app.identity.tokens import Principal
from reference_app.nouns import OPERATOR_SCOPES, SCOPES

#: Routes that need a token may answer these, and say `responses=documented(*ACCESS_PROBLEMS)`.
ACCESS_PROBLEMS = (NotAuthenticated, NotAllowed)
#: The scope of a request holds under this key who asks, once that is known.
_PRINCIPAL = "desk.principal"


def principal_of(scope: Scope) -> Principal:
    """Return who asks; the token is looked up once a request, for the rate limit and for the route.

    Args:
        scope: That of the request; its state is an `AppState`.

    Raises:
        NotAuthenticated: No token, or one that is not good.
    """
    if _PRINCIPAL not in scope:
        token = _token(scope)
        scope[_PRINCIPAL] = scope["state"]["services"][IdentityService].tokens.verify(token)
    principal: Principal = scope[_PRINCIPAL]
    return principal


def _token(scope: Scope) -> str:
    # The first and no other, whatever it says: a proxy in front may have looked at that one.
    first = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, token = first.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated.missing()
    return token.strip()


class BearerToken(OAuth2PasswordBearer):
    """Checks that who asks has a good token with the scopes that the route needs."""

    async def __call__(self, request: Request, security_scopes: SecurityScopes) -> Principal:  # type: ignore[override]
        """Return who asks.

        Raises:
            NotAuthenticated: No token, or one that is not good.
            NotAllowed: A scope is missing.
        """
        principal = principal_of(request.scope)
        if not principal.scopes.issuperset(security_scopes.scopes):
            raise NotAllowed.lacks(security_scopes.scopes)
        return principal


# Relative, so that the docs page finds it behind every proxy and prefix.
_bearer = BearerToken(tokenUrl="v1/tokens", scopes=SCOPES | OPERATOR_SCOPES, scheme_name="Desk")


def requires(*scopes: str) -> Any:
    """Return the dependency of a route that needs a token with these scopes.

    Raises:
        ValueError: A scope that nobody can have; a typo would shut a route for everybody.
    """
    if unknown := set(scopes) - set(SCOPES) - set(OPERATOR_SCOPES):
        raise ValueError(f"there is no scope {sorted(unknown)}; see nouns.py")
    return Security(_bearer, scopes=list(scopes))


#: Anybody with a good token.
CurrentUser = Annotated[Principal, requires()]
