# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""How late the event loop is: one number that shows a blocking call anywhere in the process.

Use it in every asyncio service, as a gauge with an alert. A call that blocks (a synchronous driver,
`time.sleep`, a big JSON document, a password hash) stops all requests at once, and no metric of a single
endpoint says so. A task that asks to be woken at fixed moments feels it: the lag is how late it was woken.

Do not use it to find out which call it was. For that switch on asyncio's debug mode or a sampling profiler
where the gauge is high.

Limits: it sees the loop it runs in, and no threads. It sees only blocks longer than `interval_s`. It cannot
report from inside a blocked loop; `overdue_s`, read from another thread, can. On a machine with too few CPUs
the process itself is woken late, and the lag shows that too.

Instead: `aiocop` also names the blocking call, from audit hooks and a sampling thread, and reports single
events, no gauge. `loopmon` and `aiodebug` measure the same lag (last releases 2023 and 2022), but each long
block counts as one sample with them: their percentiles look as if almost nothing had happened. Here a block
counts once for every tick that it swallowed, so that a percentile means "of the moments at which a request
might have come in".

Example:
    >>> async def service() -> bool:
    ...     async with LoopLag(interval_s=0.01) as lag:
    ...         time.sleep(0.2)  # the bug
    ...         await asyncio.sleep(0.05)
    ...         return lag.worst_s > 0.15
    >>> asyncio.run(service())
    True

Source: Gil Tene, "How NOT to Measure Latency", on samples that a stall swallows (coordinated omission).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

#: How many lags are kept at most.
MAX_TICKS = 1_000_000


class LoopLag:
    """A gauge of how late the running event loop is; an async context manager.

    Args:
        interval_s: Seconds between two ticks. A shorter one sees shorter blocks and costs more (0.1 s costs
            nothing that one can measure).
        window_s: Seconds that `worst_s` looks back: at least the interval at which metrics are collected, and
            a million ticks at most.
        observe: Called with each lag in seconds, such as `Histogram.observe` of prometheus_client. If it
            raises, sampling stops and the error is raised on leaving the context.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.

    Raises:
        ValueError: `interval_s` or `window_s` is out of its range.
    """

    def __init__(
        self,
        *,
        interval_s: float = 0.1,
        window_s: float = 15.0,
        observe: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if not 0 < window_s <= interval_s * MAX_TICKS:
            raise ValueError(f"interval_s and window_s must be above 0, got {interval_s!r} and {window_s!r}.")
        self._interval_s = interval_s
        self._lags_s: deque[float] = deque(maxlen=math.ceil(window_s / interval_s))
        self._observe = observe
        self._clock = clock
        self._sleep = sleep
        self._due_s = math.inf
        self._task: asyncio.Task[None] | None = None

    @property
    def last_s(self) -> float:
        """The lag at the last tick, in seconds; 0 before the first."""
        return self._lags_s[-1] if self._lags_s else 0.0

    @property
    def worst_s(self) -> float:
        """The largest lag of the last `window_s`, in seconds: what a gauge should show."""
        return max(self._lags_s, default=0.0)

    def overdue_s(self) -> float:
        """Return how late the next tick is now, in seconds: from another thread, a block while it lasts."""
        return max(0.0, self._clock() - self._due_s)

    async def __aenter__(self) -> Self:
        self._due_s = self._clock() + self._interval_s
        self._task = asyncio.create_task(self._tick(), name="loop lag")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        # wait() takes the end of the task for granted; awaiting it could not tell its cancellation from ours.
        await asyncio.wait([self._task])
        self._due_s = math.inf
        if not self._task.cancelled():
            self._task.result()

    async def _tick(self) -> None:
        while True:
            await self._sleep(max(0.0, self._due_s - self._clock()))
            late_s = max(0.0, self._clock() - self._due_s)
            swallowed = int(late_s // self._interval_s)
            # The worst goes in last: it then stays for the whole window,
            # even after a block that was longer than the window.
            for tick in reversed(range(min(swallowed + 1, self._lags_s.maxlen or 1))):
                self._record(late_s - tick * self._interval_s)
            self._due_s += (swallowed + 1) * self._interval_s

    def _record(self, lag_s: float) -> None:
        self._lags_s.append(lag_s)
        if self._observe is not None:
            self._observe(lag_s)
