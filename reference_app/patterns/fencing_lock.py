# /// script
# requires-python = ">=3.11"
# dependencies = ["redis>=6"]
# ///
"""A lock across workers, with a number by which the row refuses a holder whose time was up.

Use it to keep workers from doing the same costly thing at once: an import, a report, a call to a partner. No
lock of this kind can promise one holder: who is paused does not feel it expire, and a failover may forget it.
The row decides: take it over before any read, and write only while it is yours (0 rows: too late, roll back):
    UPDATE jobs SET fence = :fence WHERE id = :id AND fence <= :fence RETURNING *
    UPDATE jobs SET state = 'done' WHERE id = :id AND fence = :fence

Do not use it where the work is in one database alone: lock the row, or take an advisory lock.

Limits: who waits polls, in no order. A blocked event loop feels the loss too late. Fences grow with the clock
of Redis, so also after a failover that forgot the last one, if the new clock is not far behind. Both keys of
a lock have one hash tag, so it works in a Redis Cluster too.

Instead: `redis.asyncio.lock` has no fence, waits without end, and has one token for all. `pottery` is Redlock
without a fence.

Example:
    >>> class FakeRedis:  # for real: Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    ...     register_script = lambda self, script: lambda keys, args: asyncio.sleep(0, 1795311692389270)
    >>> async def nightly() -> None:
    ...     async with FencingLock(client=FakeRedis()).hold("report:2026-11-22") as fence:
    ...         print("rows written from now on carry", fence)
    >>> asyncio.run(nightly())
    rows written from now on carry 1795311692389270

Source: Martin Kleppmann, "How to do distributed locking" (2016).
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

#: KEYS: the lock, the last fence. ARGV: the token, milliseconds. Returns the fence or 0; may be sent twice.
ACQUIRE = """
local holder, time = redis.call('GET', KEYS[1]), redis.call('TIME')
if holder and holder ~= ARGV[1] then return 0 end
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
local fence = math.max(last + 1, time[1] * 1000000 + time[2])
redis.call('SET', KEYS[2], string.format('%.0f', fence), 'EX', 86400)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return fence
"""
#: Token and key in one step: else a late holder extends or deletes the lock of another.
EXTEND = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"
MAX_TTL_S = 86_400.0
#: The part of `ttl_s` in which the holder believes in its lock: two clocks drift apart a little.
SAFE_SHARE = 0.99


class NotAcquired(Exception):
    """Others held the lock for `wait_s`, or Redis did not answer; nothing is held."""


class LockLost(Exception):
    """The lock could not be kept until the end of the block, which was cancelled if it was still running."""


@dataclass(kw_only=True, eq=False)
class FencingLock:
    """Locks by name, kept by extending them while the block runs.

    Attributes:
        client: Redis, with timeouts well below `ttl_s`.
        ttl_s: Seconds after which the lock of a worker that died is free, 0.001 to a day.
        wait_s: Seconds to wait for it; with 0 it tries once.
        poll_s: Seconds between two tries, on average.
        max_hold_s: Seconds after which a block that hangs loses it.
        acquired: How often a lock was taken.
        refused: How often it was not, because others held it.
        extended: How often one was kept for longer.
        lost: How often one was gone before the block had ended.

    Raises:
        ValueError: `ttl_s` is out of its range.
    """

    client: Redis | RedisCluster
    ttl_s: float = 30.0
    wait_s: float = 10.0
    poll_s: float = 0.1
    max_hold_s: float = 600.0

    def __post_init__(self) -> None:
        if not 0.001 <= self.ttl_s <= MAX_TTL_S:
            raise ValueError(f"ttl_s must be 0.001 to {MAX_TTL_S:.0f} seconds")
        self._acquire = self.client.register_script(ACQUIRE)
        self._extend = self.client.register_script(EXTEND)
        self._release = self.client.register_script(RELEASE)
        self.acquired = self.refused = self.extended = self.lost = 0

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[int]:
        """Hold the lock during the block, which gets the fence.

        Raises:
            NotAcquired: The block did not run.
            LockLost: Another may have run beside the block.
        """
        # The braces are the hash tag, and end the name: the fence of "a" is no lock of "a:fence".
        keys = [f"{{lock:{name}}}", f"{{lock:{name}}}:fence"]
        token = secrets.token_hex(16)
        until_s, fence = await self._wait_for(keys, token)
        end_s = asyncio.get_running_loop().time() + self.max_hold_s
        scope = asyncio.timeout_at(min(until_s, end_s))
        try:
            async with scope:
                keeper = asyncio.create_task(self._keep(keys, token, scope, end_s))
                try:
                    yield fence
                finally:
                    keeper.cancel()
                    await asyncio.wait([keeper])
        except BaseException as error:
            await self._give_back(keys, token)
            if not (isinstance(error, TimeoutError) and scope.expired()):
                raise
            self.lost += 1
            raise LockLost("the lock could not be kept, and the block was cancelled") from error
        if not await self._give_back(keys, token):
            self.lost += 1
            raise LockLost("the lock was gone at the end of the block: another may have run beside it")

    async def _wait_for(self, keys: list[str], token: str) -> tuple[float, int]:
        """Return until when the lock is ours, by the clock of the loop, and the fence."""
        now_s = asyncio.get_running_loop().time
        give_up_s = now_s() + self.wait_s
        while True:
            asked_s = now_s()
            try:
                fence: int = await self._acquire(keys=keys, args=[token, int(self.ttl_s * 1_000)])
            except BaseException as error:  # it may be ours: the reply was lost, or we were cancelled
                await self._give_back(keys, token)
                if isinstance(error, RedisError | RedisClusterException):
                    raise NotAcquired(f"Redis did not answer: {error!r}") from error
                raise
            if fence:
                self.acquired += 1
                return asked_s + SAFE_SHARE * self.ttl_s, fence
            if asked_s >= give_up_s:
                self.refused += 1
                raise NotAcquired(f"others held the lock for {self.wait_s} s")
            await asyncio.sleep(self.poll_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret

    async def _keep(self, keys: list[str], token: str, scope: asyncio.Timeout, end_s: float) -> None:
        now_s, task = asyncio.get_running_loop().time, asyncio.current_task()
        # cancelling(): on Python 3.11 redis-py can swallow a cancellation, because it writes inside wait_for.
        while task is not None and not task.cancelling() and not scope.expired():
            await asyncio.sleep(self.ttl_s / 3)
            asked_s = now_s()
            try:
                is_kept = await self._extend(keys=keys[:1], args=[token, int(self.ttl_s * 1_000)])
            except (RedisError, RedisClusterException):
                continue  # the deadline stands, and leaves time for another try
            self.extended += is_kept
            if not scope.expired():
                scope.reschedule(min(asked_s + SAFE_SHARE * self.ttl_s, end_s) if is_kept else asked_s)

    async def _give_back(self, keys: list[str], token: str) -> bool:
        try:
            return bool(await self._release(keys=keys[:1], args=[token]))
        except (RedisError, RedisClusterException):
            return True  # not known, and it ends by itself
