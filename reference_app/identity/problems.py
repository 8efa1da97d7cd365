"""What identity can refuse: 401 with its challenge, 403, and the errors of the token endpoint."""

from __future__ import annotations

from collections.abc import Iterable

from reference_app.patterns.problem_details import Problem

#: The same for every route: a client may use one token for all of them (RFC 9110 section 11.5).
REALM = 'Bearer realm="desk"'


class NotAuthenticated(Problem):
    """The request has no usable access token; get one with `POST /v1/tokens`."""

    type, title, status = "/problems/not-authenticated", "Not authenticated", 401

    @classmethod
    def missing(cls) -> NotAuthenticated:
        """No token was sent. RFC 6750 section 3.1: then the challenge names no error."""
        return cls("Send an access token as `Authorization: Bearer ...`.", {"WWW-Authenticate": REALM})

    @classmethod
    def invalid(cls, detail: str) -> NotAuthenticated:
        """A token was sent that is not (or no longer) good."""
        challenge = f'{REALM}, error="invalid_token", error_description="{detail}"'
        return cls(detail, {"WWW-Authenticate": challenge})


class NotAllowed(Problem):
    """The access token is good, and does not carry a scope that the route needs."""

    type, title, status = "/problems/not-allowed", "Not allowed", 403

    @classmethod
    def lacks(cls, scopes: Iterable[str]) -> NotAllowed:
        """Name the scopes the route needs, in the body and in the challenge (RFC 6750 section 3.1)."""
        needed = " ".join(sorted(scopes))
        challenge = f'{REALM}, error="insufficient_scope", scope="{needed}"'
        return cls("The token lacks a scope.", {"WWW-Authenticate": challenge}, scope=needed)


class InvalidGrant(Problem):
    """Name and password do not belong together.

    400 and not 401, as RFC 6749 section 5.2 has it: nothing was sent that HTTP authentication knows, so
    there is no challenge to answer. Clients of OAuth2 read the member `error`.
    """

    type, title, status = "/problems/invalid-grant", "Name or password is wrong", 400


class TooManyGuesses(Problem):
    """Too many passwords were tried for this name; Retry-After says when another one is looked at."""

    type, title, status = "/problems/too-many-guesses", "Too many passwords for this name", 429


class InvalidScope(Problem):
    """The user may not have a scope that was asked for."""

    type, title, status = "/problems/invalid-scope", "The scope is not valid", 400


class NameTaken(Problem):
    """Another user has this name."""

    type, title, status = "/problems/name-taken", "The name is taken", 409


class TooManySignIns(Problem):
    """More passwords are being checked than the service can check; nothing was done, try again."""

    type, title, status = "/problems/too-many-sign-ins", "Too many sign-ins at once", 503
