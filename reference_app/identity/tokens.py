"""Access tokens: signed JWTs (RFC 7519, RFC 9068) that say who asks and what they may."""

from __future__ import annotations

import hashlib
import math
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
#: RFC 9068 section 2.1: what an access token is, and nothing else.
TYPE = "at+jwt"
#: RFC 9068 section 2.2 wants one; there are no registered clients, so all are the desk's own.
CLIENT_ID = "desk"
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
        other_secret: Tokens that are signed with it are good as well: while workers change from one secret to
            the next, and until the tokens of the last one have expired.
        clock: Returns the seconds since 1970.
    """

    def __init__(
        self,
        secret: str,
        *,
        ttl_s: int,
        other_secret: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key_id, self.ttl_s, self._clock = _key_id(secret), ttl_s, clock
        self._secrets = {_key_id(one): one for one in (other_secret, secret) if one is not None}
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
            "client_id": CLIENT_ID,
            "iat": now,
            "exp": now + self.ttl_s,
            "jti": str(uuid.uuid4()),
            "scope": " ".join(sorted(scopes)),
        }
        headers = {"typ": TYPE, "kid": self._key_id}
        return jwt.encode(claims, self._secrets[self._key_id], ALGORITHM, headers=headers)

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
            header = jwt.get_unverified_header(token)
            # Else another kind of token that the same secret signs, such as one for a logout, would be taken.
            if str(header.get("typ")).lower().removeprefix("application/") != TYPE:
                raise ValueError
            secret = self._secrets.get(header.get("kid", self._key_id))
            if secret is None:
                raise ValueError
            claims = jwt.decode(
                token,
                secret,
                [ALGORITHM],
                options=options,  # type: ignore[arg-type]
                audience=AUDIENCE,
                issuer=ISSUER,
            )
            scopes = frozenset(str(claims["scope"]).split())
            return Principal(uuid.UUID(claims["sub"]), scopes, _seconds(claims["exp"]))
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError):
            # No reason: which part of a forged token was wrong helps nobody but the forger.
            raise NotAuthenticated.invalid("The access token is not valid") from None


def _key_id(secret: str) -> str:
    """Name a secret without telling it."""
    return hashlib.sha256(b"key id of the desk\0" + secret.encode()).hexdigest()[:16]


def _seconds(value: object) -> float:
    """Return a NumericDate (RFC 7519 section 2), which is a finite number and no text.

    Raises:
        ValueError: It is none; a comparison with "nan" would never find it expired.
        OverflowError: It is too large to be one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("exp must be a number")
    return float(value)
