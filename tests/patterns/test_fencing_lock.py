"""One holder at a time while all goes well, a holder that is told when not, and fences that only grow."""

import asyncio
import contextlib
import doctest
import functools
import inspect
import os
import sys
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from reference_app.patterns.fencing_lock import ACQUIRE, EXTEND, RELEASE, FencingLock, LockLost, NotAcquired


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


def redis_url() -> str:
    url = os.environ.get("REDIS_URL")
    if not url:
        pytest.fail("Set REDIS_URL to a Redis or Valkey that this test may write to.", pytrace=False)
    return url


class Switch:
    """A client that can be switched off, and whose next reply can be held or lost."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.is_off = self.loses_replies = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.has_run = asyncio.Event()

    def register_script(self, script: str) -> Callable[..., Awaitable[Any]]:
        run = self.client.register_script(script)

        async def call(keys: Any, args: Any) -> Any:
            if self.is_off:
                raise RedisConnectionError("refused")
            reply = await run(keys=keys, args=args)
            self.has_run.set()
            if self.loses_replies:
                raise RedisConnectionError("closed")
            await self.may_answer.wait()
            return reply

        return call


class Workers:
    """Two workers, a lock they share, and a clock for the timers of the loop."""

    def __init__(self, make: Callable[..., FencingLock], client: Redis, patch: pytest.MonkeyPatch) -> None:
        self.redis = client
        self.name = f"test:{uuid.uuid4().hex}"
        self.key = f"{{lock:{self.name}}}"
        self.switch = Switch(client)
        self.ours = make(client=self.switch, ttl_s=30, wait_s=0, max_hold_s=100)
        self.theirs = make(client=client, ttl_s=30, wait_s=0)
        self.ahead_s = 0.0
        real = asyncio.get_running_loop().time
        patch.setattr(asyncio.get_running_loop(), "time", lambda: real() + self.ahead_s)

    async def start(self, lock: FencingLock | None = None) -> "Block":
        block = Block(lock or self.ours, self.name)
        await asyncio.wait_for(block.inside.wait(), 10)
        return block

    async def pass_time(self, seconds: float) -> None:
        """Let the timers of the loop fire, and whoever they woke do its work with Redis."""
        self.ahead_s += seconds
        for _ in range(50):
            await self.redis.ping()

    async def left_ms(self) -> int:
        return int(await self.redis.pttl(self.key))


class Block:
    """A block that runs under the lock until it is told to end."""

    def __init__(self, lock: FencingLock, name: str) -> None:
        self.inside, self.may_end = asyncio.Event(), asyncio.Event()
        self.error: BaseException | None = None
        self.was_cancelled = False
        self.fence = 0
        self.task = asyncio.create_task(self._run(lock, name))

    async def _run(self, lock: FencingLock, name: str) -> None:
        async with lock.hold(name) as self.fence:
            self.inside.set()
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
            if self.error is not None:
                raise self.error

    async def end(self) -> BaseException | None:
        """End the block and return with what it failed, if it did."""
        self.may_end.set()
        await asyncio.wait_for(asyncio.wait([self.task]), 10)
        return asyncio.CancelledError() if self.task.cancelled() else self.task.exception()


Check = Callable[[Workers], Awaitable[None]]


async def check_that_there_is_one_holder_and_the_next_fence_is_higher(workers: Workers) -> None:
    first = await workers.start()
    with pytest.raises(NotAcquired):
        async with workers.theirs.hold(workers.name):
            pass
    assert await first.end() is None
    second = await workers.start(workers.theirs)
    assert second.fence > first.fence
    assert await second.end() is None
    assert await workers.redis.exists(workers.key) == 0


async def check_that_a_late_holder_does_not_free_the_lock_of_another(workers: Workers) -> None:
    late = await workers.start()
    await workers.redis.delete(workers.key)  # it has expired, and the holder has not noticed
    other = await workers.start(workers.theirs)
    assert isinstance(await late.end(), LockLost), "a holder was not told that it was not alone"
    assert await workers.redis.exists(workers.key) == 1, "a late holder freed the lock of another"
    assert await other.end() is None


async def check_that_a_late_holder_does_not_extend_the_lock_of_another(workers: Workers) -> None:
    late = await workers.start()
    await workers.redis.set(workers.key, "the token of another", px=5_000)
    await workers.pass_time(11)
    assert await workers.left_ms() <= 5_000, "a late holder extended the lock of another"
    assert isinstance(await late.end(), LockLost)


async def check_that_it_is_extended_while_the_block_runs(workers: Workers) -> None:
    block = await workers.start()
    for _ in range(4):
        await workers.redis.pexpire(workers.key, 15_000)
        await workers.pass_time(11)
        assert await workers.left_ms() > 25_000, "the lock ran out under its holder"
    assert not block.was_cancelled
    assert await block.end() is None
    assert workers.ours.extended == 4


async def check_that_the_block_is_cancelled_when_the_lock_is_gone(workers: Workers) -> None:
    block = await workers.start()
    await workers.redis.delete(workers.key)
    await workers.pass_time(11)
    assert block.was_cancelled, "a block ran on without its lock"
    assert isinstance(await block.end(), LockLost)
    assert workers.ours.lost == 1


async def check_that_the_block_is_cancelled_in_time_when_redis_is_gone(workers: Workers) -> None:
    block = await workers.start()
    workers.switch.is_off = True
    await workers.pass_time(11)
    await workers.pass_time(11)
    assert not block.was_cancelled, "one failure is no reason: the lock is held still"
    await workers.pass_time(7.9)
    assert block.was_cancelled, "a block ran on when its lock could have expired"
    assert isinstance(await block.end(), LockLost)


async def check_that_a_block_that_hangs_loses_it(workers: Workers) -> None:
    block = await workers.start()
    for _ in range(10):
        await workers.pass_time(11)
    assert block.was_cancelled, "a block that hangs keeps the lock for ever"
    assert isinstance(await block.end(), LockLost)
    assert await workers.redis.exists(workers.key) == 0


async def check_that_fences_grow_when_redis_forgets_the_last(workers: Workers) -> None:
    first = await workers.start()
    await first.end()
    await workers.redis.delete(f"{workers.key}:fence")  # a failover to a replica that has not heard of it
    second = await workers.start()
    await second.end()
    assert second.fence > first.fence, "a new holder is refused by every row"


async def check_that_fences_grow_when_the_clock_of_redis_goes_back(workers: Workers) -> None:
    first = await workers.start()
    await first.end()
    ahead = first.fence + 3_600_000_000
    await workers.redis.set(f"{workers.key}:fence", ahead)  # given out by a clock an hour ahead
    second = await workers.start()
    await second.end()
    assert second.fence == ahead + 1
    assert 0 < await workers.redis.ttl(f"{workers.key}:fence") <= 86_400, "a key stays for ever"


async def check_that_a_lock_whose_reply_was_lost_is_given_back(workers: Workers) -> None:
    workers.switch.loses_replies = True
    with pytest.raises(NotAcquired, match="did not answer"):
        async with workers.ours.hold(workers.name):
            pass
    assert await workers.redis.exists(workers.key) == 0, "a lock is held by nobody"


async def check_that_a_cancelled_acquisition_holds_nothing(workers: Workers) -> None:
    workers.switch.may_answer.clear()
    block = Block(workers.ours, workers.name)
    await asyncio.wait_for(workers.switch.has_run.wait(), 10)
    assert await workers.redis.exists(workers.key) == 1  # taken, and the reply is on its way
    block.task.cancel()
    workers.switch.may_answer.set()
    await asyncio.wait([block.task])
    assert block.task.cancelled()
    assert await workers.redis.exists(workers.key) == 0, "a lock is held by nobody"


async def check_that_leaving_frees_it_whatever_the_reason(workers: Workers) -> None:
    for reason in (ValueError("the work failed"), TimeoutError("of the work itself"), None):
        block = await workers.start()
        block.error = reason
        if reason is None:
            block.task.cancel()
        error = await block.end()
        assert error is reason or (reason is None and isinstance(error, asyncio.CancelledError))
        assert await workers.redis.exists(workers.key) == 0, "the lock outlived its block"
    assert workers.ours.lost == 0


async def check_that_a_swallowed_cancellation_does_not_keep_it(workers: Workers) -> None:
    """On Python 3.11 redis-py can return as if nothing had happened when it is cancelled."""
    extend, extending = workers.ours._extend, asyncio.Event()

    async def swallowing(keys: Any, args: Any) -> Any:
        extending.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return await extend(keys=keys, args=args)

    workers.ours._extend = swallowing  # type: ignore[assignment]
    block = await workers.start()
    await workers.pass_time(11)
    assert extending.is_set()
    block.may_end.set()
    await workers.pass_time(0)
    assert block.task.done(), "the keeper goes on, and the block never ends"
    assert await block.end() is None


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_that_")]


@in_a_loop
async def run(check: Check, make: Callable[..., FencingLock]) -> None:
    client: Redis = Redis.from_url(redis_url(), retry=Retry(NoBackoff(), 0), socket_timeout=None)
    with pytest.MonkeyPatch.context() as patch:
        workers = Workers(make, client, patch)
        try:
            await check(workers)
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}  # of a twin that failed half-way
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await client.delete(workers.key, f"{workers.key}:fence")
            await client.aclose()


@pytest.mark.parametrize("check", CHECKS)
def test_rule(check: Check) -> None:
    run(check, FencingLock)


class Altered(FencingLock):
    """A twin whose scripts differ."""

    acquire, extend, release = ACQUIRE, EXTEND, RELEASE

    def __post_init__(self) -> None:
        super().__post_init__()
        register = self.client.register_script
        self._acquire, self._extend, self._release = (
            register(self.acquire),
            register(self.extend),
            register(self.release),
        )


class DeletesWithoutLooking(Altered):
    """Wrong: whoever comes late frees the lock of another."""

    release = "return redis.call('DEL', KEYS[1])"


class ExtendsWithoutLooking(Altered):
    """Wrong: whoever comes late extends the lock of another."""

    extend = "return redis.call('PEXPIRE', KEYS[1], ARGV[2])"


class CountsFences(Altered):
    """Wrong: a counter begins again when Redis has forgotten it."""

    acquire = ACQUIRE.replace("math.max(last + 1, time[1] * 1000000 + time[2])", "last + 1")


class TrustsTheClock(Altered):
    """Wrong: a clock that goes back gives out fences that were given out before."""

    acquire = ACQUIRE.replace(
        "math.max(last + 1, time[1] * 1000000 + time[2])", "time[1] * 1000000 + time[2]"
    )


class NeverExtends(FencingLock):
    """Wrong: whoever needs longer than planned is no longer alone."""

    async def _keep(self, keys: Any, token: str, scope: asyncio.Timeout, end_s: float) -> None:
        await asyncio.Event().wait()


class ExtendsForEver(FencingLock):
    """Wrong: a block that hangs keeps the lock, and a failure of Redis is not noticed."""

    async def _keep(self, keys: Any, token: str, scope: asyncio.Timeout, end_s: float) -> None:
        scope.reschedule(None)
        while True:
            await asyncio.sleep(self.ttl_s / 3)
            with contextlib.suppress(RedisConnectionError):
                self.extended += await self._extend(keys=keys[:1], args=[token, int(self.ttl_s * 1_000)])


class ForgetsLostReplies(FencingLock):
    """Wrong: no reply is taken for no lock."""

    async def _give_back(self, keys: Any, token: str) -> bool:
        if asyncio.current_task() is not None and not self.acquired:
            return True
        return await super()._give_back(keys, token)


@pytest.mark.parametrize(
    ("twin", "check"),
    [
        (DeletesWithoutLooking, check_that_a_late_holder_does_not_free_the_lock_of_another),
        (ExtendsWithoutLooking, check_that_a_late_holder_does_not_extend_the_lock_of_another),
        (CountsFences, check_that_fences_grow_when_redis_forgets_the_last),
        (TrustsTheClock, check_that_fences_grow_when_the_clock_of_redis_goes_back),
        (NeverExtends, check_that_it_is_extended_while_the_block_runs),
        (ExtendsForEver, check_that_a_block_that_hangs_loses_it),
        (ExtendsForEver, check_that_the_block_is_cancelled_when_the_lock_is_gone),
        (ExtendsForEver, check_that_the_block_is_cancelled_in_time_when_redis_is_gone),
        (ForgetsLostReplies, check_that_a_lock_whose_reply_was_lost_is_given_back),
        (ForgetsLostReplies, check_that_a_cancelled_acquisition_holds_nothing),
    ],
)
def test_a_wrong_twin_is_rejected(twin: Any, check: Check) -> None:
    with pytest.raises(AssertionError):
        run(check, twin)


def test_a_wait_ends_when_the_lock_is_free_or_in_time() -> None:
    async def check(workers: Workers) -> None:
        patient = FencingLock(client=workers.redis, wait_s=60, poll_s=0.001)
        first = await workers.start()
        waiting = Block(patient, workers.name)
        await workers.pass_time(0.1)
        assert not waiting.inside.is_set()
        await first.end()
        await asyncio.wait_for(waiting.inside.wait(), 10)
        assert waiting.fence > first.fence
        await waiting.end()
        await workers.redis.set(workers.key, "the token of another", px=600_000)
        late = Block(patient, workers.name)
        await workers.pass_time(0.1)
        assert not late.task.done()
        workers.ahead_s += 61
        with pytest.raises(NotAcquired, match="for 60 s"):
            await asyncio.wait_for(late.task, 100)

    run(check, FencingLock)


def test_the_same_token_may_ask_twice_and_gets_a_higher_fence() -> None:
    async def check(workers: Workers) -> None:
        keys = [workers.key, f"{workers.key}:fence"]
        fences = [await workers.ours._acquire(keys=keys, args=["token", 30_000]) for _ in range(2)]
        assert 0 < fences[0] < fences[1]
        assert await workers.ours._acquire(keys=keys, args=["another", 30_000]) == 0

    run(check, FencingLock)


def test_without_redis_nobody_holds_it() -> None:
    async def check(workers: Workers) -> None:
        workers.switch.is_off = True
        with pytest.raises(NotAcquired, match="did not answer"):
            async with workers.ours.hold(workers.name):
                pass

    run(check, FencingLock)


def test_the_defaults_are_as_declared() -> None:
    """A default decides in every service that names no value."""
    parameters = inspect.signature(FencingLock).parameters.values()
    numbers = {it.name: it.default for it in parameters if isinstance(it.default, int | float)}
    assert numbers == {"ttl_s": 30.0, "wait_s": 10.0, "poll_s": 0.1, "max_hold_s": 600.0}


@pytest.mark.parametrize("ttl_s", [0, -1, 0.0009, 86_401, float("inf"), float("nan")])
def test_a_time_that_redis_cannot_keep_is_refused(ttl_s: float) -> None:
    with pytest.raises(ValueError, match=r"0\.001 to 86400"):
        FencingLock(client=Redis(), ttl_s=ttl_s)


@pytest.mark.parametrize("ttl_s", [0.001, 86_400])
def test_the_shortest_and_the_longest_time_are_kept_by_redis(ttl_s: float) -> None:
    async def check(workers: Workers) -> None:
        lock = FencingLock(client=workers.redis, ttl_s=ttl_s)
        assert await lock._acquire(
            keys=[workers.key, f"{workers.key}:fence"], args=["token", int(ttl_s * 1000)]
        )
        assert await workers.redis.pttl(workers.key) <= ttl_s * 1000

    run(check, FencingLock)


#: Each has a lock of its own, whatever is in it.
NAMES = [
    "report",
    "report:fence",
    "report}",
    "{report}",
    "}",
    "{}",
    "",
    "lock:report",
    "report}:fence",
    "ü\u2028\n",
]


def test_no_two_names_share_a_key_and_both_keys_of_a_name_share_a_hash_tag() -> None:
    def hash_tag(key: bytes) -> bytes:
        """As the specification of Redis Cluster has it: what stands in the first braces, if anything does."""
        start = key.find(b"{")
        end = key.find(b"}", start + 1)
        return key[start + 1 : end] if start >= 0 and end > start + 1 else key

    async def check(workers: Workers) -> None:
        await workers.redis.flushdb()
        seen: dict[bytes, str] = {}
        for name in NAMES:
            async with FencingLock(client=workers.redis, wait_s=0).hold(name):
                new = {key for key in await workers.redis.keys() if key not in seen}
                assert len(new) == 2, f"{name!r} shares a key with another name"
                assert len({hash_tag(key) for key in new}) == 1, f"{name!r} lies in two slots"
                seen |= dict.fromkeys(new, name)

    run(check, FencingLock)


def test_all_names_can_be_held_at_once() -> None:
    async def check(workers: Workers) -> None:
        locks = FencingLock(client=workers.redis, wait_s=0)
        async with contextlib.AsyncExitStack() as stack:
            for name in NAMES:
                await stack.enter_async_context(locks.hold(f"{workers.name}{name}"))
            assert (locks.acquired, locks.refused) == (len(NAMES), 0)

    run(check, FencingLock)


def test_what_happened_is_counted_once() -> None:
    async def check(workers: Workers) -> None:
        first = await workers.start()
        for _ in range(2):
            with pytest.raises(NotAcquired, match="for 0 s"):
                async with workers.theirs.hold(workers.name):
                    pass
        await workers.pass_time(11)
        await workers.pass_time(11)
        assert workers.ours.extended == 2
        await workers.redis.delete(workers.key)
        assert isinstance(await first.end(), LockLost)
        assert (workers.ours.acquired, workers.ours.refused, workers.ours.lost) == (1, 0, 1)
        assert (workers.theirs.acquired, workers.theirs.refused, workers.theirs.lost) == (0, 2, 0)
        second = await workers.start()
        await workers.redis.set(workers.key, "the token of another", px=600_000)
        await workers.pass_time(11)
        assert isinstance(await second.end(), LockLost)
        assert (workers.ours.acquired, workers.ours.lost) == (2, 2)

    run(check, FencingLock)


def test_the_time_that_redis_is_told_is_the_time_that_was_asked_for() -> None:
    async def check(workers: Workers) -> None:
        block = await workers.start()
        assert 29_000 < await workers.left_ms() <= 30_000
        await workers.pass_time(11)
        assert workers.ours.extended == 1
        assert 29_000 < await workers.left_ms() <= 30_000
        assert await block.end() is None

    run(check, FencingLock)


def test_two_thirds_of_the_time_are_left_when_it_is_extended() -> None:
    async def check(workers: Workers) -> None:
        block = await workers.start()
        await workers.pass_time(9.5)
        assert workers.ours.extended == 0
        await workers.pass_time(1)
        assert workers.ours.extended == 1, "a third of the time has passed"
        assert await block.end() is None

    run(check, FencingLock)


def test_one_failure_of_redis_while_it_is_extended_costs_nothing() -> None:
    async def check(workers: Workers) -> None:
        block = await workers.start()
        workers.switch.is_off = True
        await workers.pass_time(11)
        workers.switch.is_off = False
        await workers.pass_time(11)
        assert (workers.ours.extended, block.was_cancelled) == (1, False)
        assert await block.end() is None

    run(check, FencingLock)


@pytest.mark.parametrize("max_hold_s", [0, 5])
def test_a_block_that_may_be_held_for_less_than_a_third_of_the_time_ends_then(max_hold_s: float) -> None:
    async def check(workers: Workers) -> None:
        brief = FencingLock(client=workers.redis, ttl_s=30, wait_s=0, max_hold_s=max_hold_s)
        block = await workers.start(brief)
        await workers.pass_time(max_hold_s + 0.1)
        assert block.was_cancelled
        assert isinstance(await block.end(), LockLost)
        assert await workers.redis.exists(workers.key) == 0

    run(check, FencingLock)


def test_what_the_block_raises_comes_out_and_is_no_loss() -> None:
    async def check(workers: Workers) -> None:
        for error in (TimeoutError("of the partner"), KeyError("odd")):
            block = await workers.start()
            block.error = error
            assert await block.end() is error
        assert workers.ours.lost == 0
        assert await workers.redis.exists(workers.key) == 0

    run(check, FencingLock)


def test_who_waits_asks_about_every_poll_s_and_not_in_step_with_others() -> None:
    async def check(workers: Workers) -> None:
        waits: list[float] = []
        real = asyncio.sleep

        async def sleep(seconds: float, result: Any = None) -> Any:
            waits.append(seconds)
            workers.ahead_s += seconds
            return await real(0, result)

        await workers.redis.set(workers.key, "the token of another", px=600_000)
        patient = FencingLock(client=workers.redis, wait_s=100, poll_s=2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", sleep)
            with pytest.raises(NotAcquired):
                async with patient.hold(workers.name):
                    pass
        assert 1 <= min(waits) < 1.5
        assert 2.5 < max(waits) <= 3
        assert 40 <= len(waits) <= 62

    run(check, FencingLock)


def test_without_an_answer_at_the_end_nobody_is_blamed() -> None:
    async def check(workers: Workers) -> None:
        block = await workers.start()
        workers.switch.is_off = True
        assert await block.end() is None
        assert workers.ours.lost == 0

    run(check, FencingLock)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[FencingLock.__module__]).failed == 0
