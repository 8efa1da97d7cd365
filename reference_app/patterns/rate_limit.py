# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=6"]
# ///
"""A rate limit that all workers share, counted in one step inside Redis, and told to the client.

Use it where one caller could take what is meant for all: a limit for each API key, user or address. It is a
token bucket (as the generic cell rate algorithm): `limit` at once, then one more every `window_s / limit`
seconds.

Do not use it to protect a capacity (that is `load_shedding`), nor where one too many costs money: Redis may
lose its last second, and while it is down hits pass uncounted (to fail closed, refuse unless `is_counted`).

Limits: one policy a call. A hit whose reply is lost was counted, so the client must not retry: by the
defaults of redis-py it could be counted eleven times. Set its timeouts, and do not rely on an
`asyncio.timeout` around: on Python 3.11 redis-py can swallow a cancellation (it writes inside `wait_for`). A
key lives until its bucket is full. A unit costs whole microseconds, rounded up: from 10,000 a second on the
rate is noticeably lower than asked for, and never higher.

Instead: `limits`, with more strategies and stores: its moving window keeps all hits and trusts the clocks of
the workers; its fixed window lets twice the limit through where two windows meet. `aiolimiter` waits, in one
process.

Example:
    >>> import asyncio
    >>> class FakeRedis:  # for real: Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=0.1)
    ...     get_retry = lambda self: type("", (), {"get_retries": lambda self: 0})()
    ...     register_script = lambda self, script: lambda keys, args: asyncio.sleep(0, [0, 60_000_000, 6_000])
    >>> limiter = RateLimiter(client=FakeRedis(), limit=100, window_s=60)
    >>> decision = asyncio.run(limiter.hit("user:42"))
    >>> decision.is_allowed, decision.remaining
    (False, 0)
    >>> decision.headers()
    {'RateLimit-Policy': '"default";q=100;w=60', 'RateLimit': '"default";r=0;t=1', 'Retry-After': '1'}

Source: ITU-T I.371 for the algorithm; draft-ietf-httpapi-ratelimit-headers for the fields.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

MAX_WINDOW_S = 366 * 86_400
#: KEYS[1]: the bucket. ARGV: microseconds a unit costs, microseconds the bucket holds, units of this hit.
#: The bucket is the moment at which it will be full again, by the clock of Redis, which all workers share.
HIT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local unit, size, units = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(now, tonumber(redis.call('GET', KEYS[1]) or now))
full = math.min(full, now + size)  -- after a failover to a server whose clock is behind
local wait = full + units * unit - now - size
if wait <= 0 and units > 0 then
  full = full + units * unit
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
end
return {wait <= 0 and 1 or 0, full - now, math.max(wait, 0)}
"""


@dataclass(frozen=True)
class Decision:
    """What the limiter says about one hit, for the reply and for the log.

    Attributes:
        policy: The name of the limit.
        limit: Units that a full bucket holds.
        window_s: Seconds in which an empty bucket fills.
        is_allowed: Whether to do the work.
        is_counted: False where Redis did not answer: the hit is allowed, and the numbers below say nothing.
        remaining: Units that are left.
        reset_s: Seconds until there is one more; 0 if the bucket is full.
        retry_after_s: Seconds until this hit would be allowed; 0 if it is.
    """

    policy: str
    limit: int
    window_s: int
    is_allowed: bool
    is_counted: bool = True
    remaining: int = 0
    reset_s: float = 0.0
    retry_after_s: float = 0.0

    def headers(self) -> dict[str, str]:
        """Return RateLimit-Policy, RateLimit and, for a refusal, Retry-After, in whole seconds rounded up."""
        fields = {"RateLimit-Policy": f'"{self.policy}";q={self.limit};w={self.window_s}'}
        if self.is_counted:
            fields["RateLimit"] = f'"{self.policy}";r={self.remaining};t={math.ceil(self.reset_s)}'
        if not self.is_allowed:
            fields["Retry-After"] = str(math.ceil(self.retry_after_s))
        return fields


@dataclass(kw_only=True, eq=False)
class RateLimiter:
    """Counts hits by key, for all workers that use the same Redis and `policy`.

    Attributes:
        client: A client that does not retry. Its `socket_timeout` and `socket_connect_timeout` bound how long
            a Redis that does not answer can hold up a hit; by default they are 5 s.
        policy: Its name, in Redis and in the header: letters, digits, "-" and "_".
        limit: Units that a full bucket holds, 1 to a million a second.
        window_s: Seconds in which an empty bucket fills, 1 to a year.
        allowed: How many hits were allowed.
        refused: How many were refused.
        uncounted: How many were allowed because Redis did not answer.

    Raises:
        ValueError: The client retries, or an option is out of its range.
    """

    client: Redis | RedisCluster
    policy: str = "default"
    limit: int
    window_s: int

    def __post_init__(self) -> None:
        retry = self.client.retry if isinstance(self.client, RedisCluster) else self.client.get_retry()
        if retry is None or retry.get_retries() != 0:
            raise ValueError("the client must not retry: make it with retry=Retry(NoBackoff(), 0)")
        is_rate = 1 <= self.limit <= self.window_s * 1_000_000 and self.window_s in range(1, MAX_WINDOW_S + 1)
        if not is_rate or re.fullmatch(r"[\w-]+", self.policy, re.ASCII) is None:
            raise ValueError("limit must be 1 to a million a second, policy of letters, digits, - and _")
        # The cost is whole, so that `limit` units fit exactly. Rounded down, it would let more of them in.
        self._unit_us = -(-self.window_s * 1_000_000 // self.limit)
        self._size_us = self._unit_us * self.limit
        self._hit = self.client.register_script(HIT)
        self.allowed = self.refused = self.uncounted = 0

    async def hit(self, key: str, units: int = 1) -> Decision:
        """Take units from a bucket, all or none.

        Args:
            key: Whose bucket: a user, an API key, an address.
            units: How many; 0 looks and takes nothing.

        Raises:
            ValueError: `units` is negative, or more than a full bucket holds.
        """
        if not 0 <= units <= self.limit:
            raise ValueError(f"units must be 0 to {self.limit}, got {units}")
        name = f"rate_limit:{self.policy}:{key}"
        try:
            reply = await self._hit(keys=[name], args=[self._unit_us, self._size_us, units])
        except (RedisError, RedisClusterException):
            self.uncounted += 1
            return Decision(self.policy, self.limit, self.window_s, is_allowed=True, is_counted=False)
        is_allowed, used_us, wait_us = reply
        if is_allowed:
            self.allowed += 1
        else:
            self.refused += 1
        left = (self._size_us - used_us) // self._unit_us
        reset_us = used_us - (self.limit - left - 1) * self._unit_us if left < self.limit else 0
        return Decision(
            self.policy,
            self.limit,
            self.window_s,
            is_allowed=bool(is_allowed),
            remaining=left,
            reset_s=reset_us / 1e6,
            retry_after_s=wait_us / 1e6,
        )
