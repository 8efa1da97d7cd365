# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=6"]
# ///
"""Cache-aside in Redis: shared by all workers, invalidated by tag, and without Redis slower, never wrong.

Use it for values that are costly to make and read by several workers. Once an invalidation is confirmed
nobody gets a value from before it, in whatever order loads, fills and invalidations arrive: an entry carries
the tokens that its tags had before its load, and counts only while they are the current ones.

Do not use it for what must be right at once, such as a balance that is about to be spent.

Limits: a crash between commit and `invalidate`, or a failover that forgets it, leaves the old value for
`ttl_s` at most. If Redis cannot be told, this process uses no cache until it was told; others may see the old
value for `ttl_s`. Load from where the commit is seen at once, not from a replica. In a Redis Cluster all keys
of a prefix are in one slot. Callers that miss together load together: put `single_flight` around.

Instead: `cashews`. It stores a late fill, and its tags are sets of keys: what a set loses is not invalidated.

Example:
    >>> import asyncio
    >>> nobody = Redis.from_url("redis://127.0.0.1:1", retry=None)
    >>> cache = RedisCache(client=nobody, prefix="quotes", encode=str.encode, decode=bytes.decode, ttl_s=60)
    >>> asyncio.run(cache.get("AAPL", lambda: asyncio.sleep(0, "131.12"), "nasdaq")), cache.failures
    ('131.12', 1)

Source: Nishtala and others, "Scaling Memcache at Facebook" (NSDI 2013), on leases.
"""

from __future__ import annotations

import contextlib
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

V = TypeVar("V")
#: A tag of every entry; no text, because every text may be a key.
ALL = object()
#: How many invalidations may wait for Redis; with more of them everything is invalidated.
MAX_UNCONFIRMED = 1_000

#: KEYS: the entry, its tags. ARGV: a new token, milliseconds it lives. Returns tokens, time, payload or nil.
READ = """
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2], 'NX') end
local tokens, time = table.concat(redis.call('MGET', unpack(KEYS, 2)), ' '), redis.call('TIME')
local entry = redis.call('HMGET', KEYS[1], 'tokens', 'payload')
return {tokens, time[1] * 1000000 + time[2], entry[1] == tokens and entry[2]}"""
#: KEYS as above. ARGV: tokens and time from READ, the payload, milliseconds that the entry and the tags live.
FILL = """
local tokens, entry = {}, redis.call('HMGET', KEYS[1], 'tokens', 'read')
for i = 2, #KEYS do tokens[i - 1] = redis.call('GET', KEYS[i]) or '' end
if table.concat(tokens, ' ') ~= ARGV[1] then return 0 end
if entry[1] == ARGV[1] and tonumber(entry[2]) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'tokens', ARGV[1], 'read', ARGV[2], 'payload', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
for i = 2, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[5]) end
return 1
"""


@dataclass(kw_only=True, eq=False)
class RedisCache(Generic[V]):
    """Values by key, each with tags by which it can be invalidated together with others.

    Attributes:
        client: With short timeouts, no retries, and `decode_responses` off.
        prefix: Stands before every key in Redis, and has no braces; change it with the format of the values.
        encode: Makes bytes of a value.
        decode: Makes a value of bytes. No pickle: it runs code.
        ttl_s: Seconds, from the start of its load, that a value may be given out: 0.001 to a billion.
        absent_ttl_s: The same where the load returned None: there is no such thing. 0 keeps nothing.
        jitter: Share of these that is cut at random, 0 to 1: what was filled together expires apart.
        pause_s: Seconds without a try after Redis failed.
        hits: How many values came from Redis.
        misses: How many had to be loaded.
        late_fills: How many loaded values were not stored, because they had been invalidated meanwhile.
        failures: How often Redis did not answer; all that a caller sees of it is the time that it took.

    Raises:
        ValueError: The client decodes what it reads, or an option is out of its range.
    """

    client: Redis | RedisCluster
    prefix: str
    encode: Callable[[V], bytes]
    decode: Callable[[bytes], V]
    ttl_s: float
    absent_ttl_s: float = 1.0
    jitter: float = 0.1
    pause_s: float = 1.0

    def __post_init__(self) -> None:
        pool: Any = getattr(self.client, "connection_pool", self.client)  # a cluster has a pool for each node
        times_fit = 0.001 <= self.ttl_s <= 1e9 and 0 <= self.absent_ttl_s <= 1e9
        if pool.connection_kwargs.get("decode_responses"):
            raise ValueError("values are bytes: give the client decode_responses=False")
        if not (times_fit and 0 <= self.jitter <= 1) or re.fullmatch(r"[^{}]+", self.prefix) is None:
            raise ValueError("ttl_s, absent_ttl_s or jitter is out of its range, or prefix has braces")
        self._read = self.client.register_script(READ)
        self._fill = self.client.register_script(FILL)
        self._unconfirmed: dict[object, object] = {}
        self._paused_until_s = 0.0
        self.hits = self.misses = self.late_fills = self.failures = 0

    async def get(self, key: str, load: Callable[[], Awaitable[V | None]], *tags: str) -> V | None:
        """Return a value from Redis, or load it and store it there.

        Args:
            key: What the value is for; it can be invalidated by it.
            load: Makes the value, or None for "there is no such thing".
            tags: Further names by which it can be invalidated, the same each time.
        """
        keys = [f"{{{self.prefix}}}:entry:{key}", *map(self._tag, (ALL, key, *tags))]
        tag_ms = int(2_000 * max(self.ttl_s, self.absent_ttl_s))  # tags outlive entries, else these are lost
        found = await self._try(self._read, keys, [secrets.token_hex(8), tag_ms])
        with contextlib.suppress(Exception):  # what another version wrote is a miss
            if found is not None and found[2] is not None:
                value = self.decode(found[2][1:]) if found[2].startswith(b"+") else None
                self.hits += 1
                return value
        self.misses += 1
        started_s = time.monotonic()
        value = await load()
        if found is not None:
            payload = b"-" if value is None else b"+" + self.encode(value)
            ttl_s = self.absent_ttl_s if value is None else self.ttl_s
            end_s = started_s + ttl_s * random.uniform(1 - self.jitter, 1)  # noqa: S311 - no secret
            left_ms = int(1_000 * (end_s - time.monotonic()))  # less than 1 deletes the entry
            if await self._try(self._fill, keys, [*found[:2], payload, left_ms, tag_ms]) == 0:
                self.late_fills += 1
        return value

    async def invalidate(self, *names: object) -> bool:
        """Drop entries by key or tag, or `ALL`, after the commit; return whether Redis confirmed it."""
        try:
            if names:
                await self.client.delete(*map(self._tag, names))
        except BaseException as error:  # a cancelled call may or may not have arrived
            self._unconfirmed.update(dict.fromkeys(names, object()))
            if len(self._unconfirmed) > MAX_UNCONFIRMED:
                self._unconfirmed = {ALL: object()}
            if not isinstance(error, RedisError | RedisClusterException):
                raise
            return self._failed()
        return True

    def _tag(self, name: object) -> str:
        # The braces are the hash tag: in a cluster, scripts take keys of one slot only.
        return f"{{{self.prefix}}}:{'all' if name is ALL else f'tag:{name}'}"

    async def _try(self, script: Callable[..., Awaitable[Any]], keys: list[str], args: list[Any]) -> Any:
        """Return the reply of the script, or None if Redis does not answer."""
        if time.monotonic() < self._paused_until_s:
            return None
        try:
            if unconfirmed := dict(self._unconfirmed):
                await self.client.delete(*map(self._tag, unconfirmed))
                # What was invalidated again meanwhile has another mark, and stays.
                self._unconfirmed = dict(self._unconfirmed.items() - unconfirmed.items())
            return await script(keys=keys, args=args)
        except (RedisError, RedisClusterException):
            self._failed()
            return None

    def _failed(self) -> bool:
        self.failures += 1
        self._paused_until_s = time.monotonic() + self.pause_s
        return False
