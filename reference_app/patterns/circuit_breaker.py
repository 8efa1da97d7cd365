# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Stop calling what does not answer, and let a few calls find out when it does again.

Use it around calls to a service or database that can be down for a while: without it every request waits for
its timeout, holds a connection meanwhile, and callers pile up. Give each dependency its own breaker.

Do not use it where each call goes to another host, nor for errors of the caller (a 404 is an answer), nor in
place of timeouts: it needs them to see a hang.

Limits: one process; each worker finds out for itself, at the cost of `min_calls` calls. A call that is
cancelled tells nothing, so the timeout must stand inside, as `timeout_s` does: an `asyncio.timeout` outside
looks like a cancellation. Do not retry inside: one broken call would count several times.

Instead: `purgatory` shares the state through Redis and has hooks. It counts failures in a row, lets all
callers through at once when it tries again, takes a cancelled call for a failure, and lets a call that began
before the opening decide about the state of now. `aiobreaker` too lets all callers through at once.

Example:
    >>> exchange = CircuitBreaker(timeout_s=1, open_s=30, min_calls=2)
    >>> async def quote() -> str:
    ...     raise ConnectionError("refused")
    >>> for _ in range(3):
    ...     try:
    ...         asyncio.run(exchange.call(quote))
    ...     except (ConnectionError, CircuitOpen) as error:
    ...         print(type(error).__name__, exchange.state)
    ConnectionError closed
    ConnectionError open
    CircuitOpen open

Source: Michael Nygard, "Release It!" (2007); Resilience4j for the window and the half-open calls.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")


class CircuitOpen(Exception):
    """The call was not made.

    Attributes:
        retry_after_s: Seconds after which it may be tried again.
    """

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the circuit is open for another {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


@dataclass(kw_only=True, eq=False)
class CircuitBreaker:
    """Closed while calls succeed, open after too many failures, half open to find out.

    Attributes:
        timeout_s: Seconds after which a call is ended and counts as a failure; None if it ends itself.
        open_s: Seconds without calls after it opened.
        failure_ratio: Share of failed calls at which it opens.
        min_calls: How many calls the window must hold before it opens.
        window_calls: How many of the last calls count.
        window_s: For how many seconds a call counts.
        trials: How many calls run, and must all succeed, in the half-open state before it closes.
        is_failure: Says which exceptions count as failures.
        clock: Monotonic seconds.
        state: "closed", "open" or "half_open", as of the last call.
        calls: How many calls were made.
        failures: How many of them failed.
        rejected: How many calls were not made.
        openings: How often the circuit opened.

    Raises:
        ValueError: An option is out of its range: `window_calls` and `trials` are at least 1, `window_s` is
            above 0, `failure_ratio` is 0 to 1.
    """

    timeout_s: float | None
    open_s: float = 30.0
    failure_ratio: float = 0.5
    min_calls: int = 10
    window_calls: int = 100
    window_s: float = 60.0
    trials: int = 1
    is_failure: Callable[[Exception], bool] = lambda error: True
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if (
            self.window_calls < 1
            or self.trials < 1
            or not self.window_s > 0
            or not 0 <= self.failure_ratio <= 1
        ):
            raise ValueError("window_calls, trials, window_s or failure_ratio is out of its range")
        self._results: deque[tuple[float, bool]] = deque(maxlen=self.window_calls)
        self._era = 0  # grows with every change of state; a call belongs to the era in which it began
        self._opened_s = 0.0
        self._trials_left = self._trials_to_pass = self.trials
        self.state: Literal["closed", "open", "half_open"] = "closed"
        self.calls = self.failures = self.rejected = self.openings = 0

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns, if the circuit lets it be called.

        Raises:
            CircuitOpen: It does not.
            TimeoutError: The call took longer than `timeout_s`.
            Exception: Whatever `work` raised.
        """
        era = self._admit()
        failed: bool | None = None  # None: cancelled, which tells nothing about the dependency
        try:
            async with asyncio.timeout(self.timeout_s):
                result = await work()
            failed = False
            return result
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # A driver may end as cancelled of its own accord; nobody has cancelled this caller.
            failed = True if task is None or not task.cancelling() else None
            raise
        except Exception as error:
            failed = self.is_failure(error)
            raise
        finally:
            self._record(era, failed)

    def _admit(self) -> int:
        if self.state == "open" and self.clock() - self._opened_s >= self.open_s:
            self._change("half_open")
        if self.state == "open" or (self.state == "half_open" and not self._trials_left):
            self.rejected += 1
            raise CircuitOpen(max(0.0, self._opened_s + self.open_s - self.clock()))
        if self.state == "half_open":
            self._trials_left -= 1
        self.calls += 1
        return self._era

    def _record(self, era: int, failed: bool | None) -> None:
        if failed:
            self.failures += 1
        if era != self._era:
            return  # it began before the last change, and tells nothing about the dependency of now
        if self.state == "half_open":
            self._record_trial(failed)
        elif failed is not None:
            self._results.append((self.clock(), failed))
            if failed and self._is_broken():
                self._change("open")

    def _record_trial(self, failed: bool | None) -> None:
        if failed is None:
            self._trials_left += 1  # else a cancelled trial would keep the circuit open for ever
        elif failed:
            self._change("open")
        else:
            self._trials_to_pass -= 1
            if not self._trials_to_pass:
                self._change("closed")

    def _is_broken(self) -> bool:
        while self._results and self._results[0][0] <= self.clock() - self.window_s:
            self._results.popleft()
        failures = sum(failed for _, failed in self._results)
        calls = len(self._results)
        return calls >= min(self.min_calls, self.window_calls) and failures >= self.failure_ratio * calls

    def _change(self, state: Literal["closed", "open", "half_open"]) -> None:
        self.state = state
        self._era += 1
        self._results.clear()
        self._trials_left = self._trials_to_pass = self.trials
        if state == "open":
            self._opened_s = self.clock()
            self.openings += 1
