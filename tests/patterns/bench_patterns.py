"""What a pattern costs over the work that it guards, in microseconds a call on its fast path.

The work is a coroutine that returns at once, so that what is measured is the pattern; process time, so that
other programs on the machine count for little. The ratio is to the same call without the pattern, which tells
a slow machine from a slow pattern. Medians of five with their spread; the target is 5 microseconds.

python tests/patterns/bench_patterns.py
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable

from reference_app.patterns.bounded_fan_out import FanOut
from reference_app.patterns.keyed_lock import KeyedLock
from reference_app.patterns.single_flight import SingleFlight
from reference_app.patterns.ttl_cache import TTLCache

REPEATS, CALLS, TARGET_US = 5, 20_000, 5.0
Calls = Callable[[int], Awaitable[object]]


async def work(key: object = "AAPL") -> str:
    """Return at once, as what is guarded does at best."""
    return "131.12"


async def bare(calls: int) -> None:
    """Make the calls without a pattern."""
    for _ in range(calls):
        await work()


async def ttl_cache_hit(calls: int) -> None:
    """Find the value each time."""
    cache: TTLCache[str, str] = TTLCache(ttl_s=3600, max_entries=10)
    for _ in range(calls):
        await cache.get_or_load("AAPL", work)


async def ttl_cache_miss(calls: int) -> None:
    """Load a new value each time."""
    cache: TTLCache[int, str] = TTLCache(ttl_s=3600, max_entries=calls)
    for key in range(calls):
        await cache.get_or_load(key, work)


async def keyed_lock(calls: int) -> None:
    """Take a lock that is free."""
    locks: KeyedLock[str] = KeyedLock(timeout_s=5)
    for _ in range(calls):
        async with locks("AAPL"):
            await work()


async def single_flight_alone(calls: int) -> None:
    """Be the only caller, so that each call starts the work."""
    flights: SingleFlight[str] = SingleFlight()
    for _ in range(calls):
        await flights.do("AAPL", work)


async def single_flight_joined(calls: int) -> None:
    """Join work that is under way, a hundred callers a time, each of them in a task."""
    flights: SingleFlight[str] = SingleFlight()
    for _ in range(calls // 100):
        await asyncio.gather(*(flights.do("AAPL", work) for _ in range(100)))


async def bare_tasks(calls: int) -> None:
    """Make the calls in a hundred tasks a time."""
    for _ in range(calls // 100):
        await asyncio.gather(*(work() for _ in range(100)))


async def bare_task_alone(calls: int) -> None:
    """Make each call in a task of its own, one after the other."""
    for _ in range(calls):
        await asyncio.create_task(work())


async def fan_out(calls: int, timeout_s: float | None = None) -> None:
    """Ask for a hundred things a time, ten at once."""
    exchange, items = FanOut(limit=10, timeout_s=timeout_s), range(100)
    for _ in range(calls // 100):
        await exchange.map(work, items)


async def fan_out_with_timeout(calls: int) -> None:
    """Ask in the same way, with a timeout for each piece."""
    await fan_out(calls, timeout_s=5)


async def seconds(run: Calls) -> float:
    """Return the process time of a call, in seconds."""
    gc.collect()
    gc.disable()  # as timeit does: what it finds was left by whoever ran before
    try:
        started_s = time.process_time()
        await run(CALLS)
        return (time.process_time() - started_s) / CALLS
    finally:
        gc.enable()


async def measure(name: str, run: Calls, without: Calls = bare, target_us: float | None = TARGET_US) -> None:
    """Print what `run` costs over `without`, both measured in turns."""
    over_us, ratios = [], []
    for _ in range(REPEATS):
        base_s, guarded_s = await seconds(without), await seconds(run)
        over_us.append((guarded_s - base_s) * 1e6)
        ratios.append(guarded_s / base_s)
    median_us = statistics.median(over_us)
    verdict = (
        "" if target_us is None else f"target {target_us:g}: {'met' if median_us <= target_us else 'missed'}"
    )
    print(
        f"{name:42}{median_us:7.2f} us a call ({min(over_us):.2f} to {max(over_us):.2f})"
        f"  x{statistics.median(ratios):<6.1f}{verdict}",
        flush=True,
    )


async def main() -> None:
    """Print all figures."""
    await measure("ttl_cache, a hit", ttl_cache_hit)
    await measure("ttl_cache, a miss", ttl_cache_miss)
    await measure("keyed_lock, free", keyed_lock)
    await measure("single_flight, a caller alone", single_flight_alone)
    await measure("  a bare task, for comparison", bare_task_alone, target_us=None)
    await measure("single_flight, joined", single_flight_joined, bare_tasks)
    await measure("bounded_fan_out, 100 things", fan_out)
    await measure("bounded_fan_out, with a timeout a piece", fan_out_with_timeout, target_us=None)


if __name__ == "__main__":
    asyncio.run(main())
