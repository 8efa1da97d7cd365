"""Access tokens: signed JWTs (RFC 7519, RFC 9068) that say who asks and what they may."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import jwt

from reference_app.identity.problems import NotAuthenticated
from reference_app.patterns.ttl_cache import TTLCache

#: One, and named when checking: a token that could choose its own algorithm could choose "none".
ALGORITHM = "HS256"
ISSUER = AUDIENCE = "desk"
MAX_TOKEN_LENGTH = 2048
MAX_VERIFIED = 10_000


@dataclass(frozen=True)
class Principal:
    """Who asks: what a verified token says.

    Attributes:
        id: The user's number.
        scopes: What this token may be used for.
        expires_at: Seconds since 1970 from which on the token is void.
    """

    id: uuid.UUID
    scopes: frozenset[str]
    expires_at: float

    @cached_property
    def name(self) -> str:
        """The user as a key, for what is counted by caller."""
        return f"user:{self.id}"


class Tokens:
    """Issues and verifies access tokens; any worker with the same secret accepts them.

    Verified tokens are remembered until they expire: checking a signature and parsing JSON costs more than
    the rest of a cached answer. This cannot make a token live longer, because the expiry is looked at every
    time, and a signature that was right stays right. What it does not do is revoke: a token of a user who
    was locked out works until it expires, with and without this memory, so its life is short.

    The memory is bounded, and its keys are digests: a dump of it holds no token that could be used.

    Args:
        secret: At least 32 bytes, the same in all workers and known to nobody else.
        ttl_s: Seconds that a token lives.
        clock: Returns the seconds since 1970.
    """

    def __init__(self, secret: str, *, ttl_s: int, clock: Callable[[], float] = time.time) -> None:
        self._secret, self.ttl_s, self._clock = secret, ttl_s, clock
        self._verified: TTLCache[bytes, Principal] = TTLCache(ttl_s=ttl_s, max_entries=MAX_VERIFIED)

    def __repr__(self) -> str:
        return f"Tokens(ttl_s={self.ttl_s})"

    def issue(self, user_id: uuid.UUID, scopes: Iterable[str]) -> str:
        """Return a new token for the user."""
        now = int(self._clock())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "iat": now,
            "exp": now + self.ttl_s,
            "jti": str(uuid.uuid4()),
            "scope": " ".join(sorted(scopes)),
        }
        return jwt.encode(claims, self._secret, ALGORITHM, headers={"typ": "at+jwt"})

    def verify(self, token: str) -> Principal:
        """Return who the token speaks for.

        Raises:
            NotAuthenticated: It is none of ours, or has expired.
        """
        key = hashlib.sha256(token.encode()).digest()
        principal = self._verified.get(key)
        if principal is None:
            principal = self._decode(token)
            self._verified.put(key, principal)
        if principal.expires_at <= self._clock():
            raise NotAuthenticated.invalid("The access token has expired")
        return principal

    def _decode(self, token: str) -> Principal:
        options = {"require": ["exp", "sub", "iss", "aud", "scope"], "verify_exp": False, "verify_iat": False}
        try:
            if len(token) > MAX_TOKEN_LENGTH:
                raise ValueError
            claims = jwt.decode(
                token,
                self._secret,
                [ALGORITHM],
                options=options,  # type: ignore[arg-type]
                audience=AUDIENCE,
                issuer=ISSUER,
            )
            scopes = frozenset(str(claims["scope"]).split())
            return Principal(uuid.UUID(claims["sub"]), scopes, float(claims["exp"]))
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError):
            # No reason: which part of a forged token was wrong helps nobody but the forger.
            raise NotAuthenticated.invalid("The access token is not valid") from None
