"""How many passwords may be tried for a name: who guesses is stopped, and who shares the name is not."""

from __future__ import annotations

import hashlib

from redis.asyncio import Redis

from reference_app.identity.problems import TooManyGuesses
from reference_app.patterns.rate_limit import RateLimiter

WINDOW_S = 60
#: For a name from all addresses together, as many times what one address may try.
ADDRESSES = 10


class Guesses:
    """Counts the passwords that are tried for each name, in Redis for all workers.

    By name and address first: with a limit by name alone, anybody could shut a user out by guessing. By name
    from all addresses then: with the first alone, who has many addresses could guess without end.

    Args:
        redis: A client that does not retry.
        limit: Passwords that an address may try for a name at once, and then again in each minute.

    Source: OWASP API Security 2023, API2; ASVS 4.0.3, V2.2.1.
    """

    def __init__(self, redis: Redis, *, limit: int) -> None:
        self._here = RateLimiter(client=redis, policy="guesses", limit=limit, window_s=WINDOW_S)
        self._everywhere = RateLimiter(
            client=redis, policy="guesses-of-name", limit=ADDRESSES * limit, window_s=WINDOW_S
        )

    async def count(self, name: str, address: str) -> None:
        """Count a password before it is checked, be it right or wrong.

        Raises:
            TooManyGuesses: There were too many; this one must not be looked at.
        """
        # Digests: a name is what a client has typed, a password perhaps, and stands in no key of Redis.
        for limiter, key in ((self._here, f"{address} {name}"), (self._everywhere, name)):
            decision = await limiter.hit(hashlib.sha256(key.encode()).hexdigest())
            if not decision.is_allowed:
                raise TooManyGuesses(headers=decision.headers())
