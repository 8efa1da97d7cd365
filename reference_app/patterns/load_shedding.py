# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Do so much at once, let so many wait for so long, and tell the rest at once to come back later.

Use it in front of what has a capacity: a pool of connections, a CPU-bound endpoint, a service. Without it a
service that is asked for more than it can do answers everybody too late: the queue is as long as the patience
of the clients, who give up, ask again, and make it longer. Answer `Overloaded` as 503 with Retry-After.

Do not use it in front of health checks, nor take it for fairness: one client can fill the queue
(`rate_limit`).

Limits: one process and one event loop; what waits in the socket or in the proxy is not seen. `max_running`
must be measured, at about the load where latency begins to grow. The work that is admitted needs a timeout of
its own.

How it waits: first come, first served while the queue empties now and then. A queue that has not been empty
for `max_wait_s` is no burst but overload: from then on nobody waits longer than `overload_wait_s`, and the
newest goes first, because the oldest will be given up soonest.

Instead: `uvicorn --limit-concurrency` answers 503 to the whole process, without a queue. FastAPI's
`Depends(max_concurrency=)` and `anyio.CapacityLimiter` limit what runs; their queues have no end.

Example:
    >>> async def desk() -> None:
    ...     shedder = LoadShedder(max_running=1, max_waiting=0)
    ...     async with shedder:
    ...         try:
    ...             async with shedder:
    ...                 print("two at once")
    ...         except Overloaded as error:
    ...             print(error)
    >>> asyncio.run(desk())
    1 are running and 0 are waiting

Source: Ben Maurer, "Fail at Scale" (ACM Queue, 2015), for controlled delay and adaptive LIFO; Beyer and
others, "Site Reliability Engineering" (2016), chapters 21 and 22.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass


class Overloaded(Exception):
    """The work was not begun.

    Attributes:
        retry_after_s: What to tell the client, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(kw_only=True, eq=False)
class LoadShedder:
    """Admits work up to a number, queues some, sheds the rest; an async context manager for many at once.

    Attributes:
        max_running: How much work runs at once; 0 sheds all.
        max_waiting: How much may wait; 0 sheds at once.
        max_wait_s: Seconds that a burst may wait.
        overload_wait_s: Seconds that work may wait when the queue has not been empty for `max_wait_s`.
        retry_after_s: What `Overloaded` carries.
        running: How much work runs now.
        admitted: How much was begun.
        shed_at_once: How much was refused at once.
        shed_late: How much was refused after a wait in vain.
    """

    max_running: int
    max_waiting: int
    max_wait_s: float = 0.5
    overload_wait_s: float = 0.05
    retry_after_s: float = 1.0

    def __post_init__(self) -> None:
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._queued_since_s = 0.0
        self.running = self.admitted = self.shed_at_once = self.shed_late = 0

    @property
    def waiting(self) -> int:
        """How much work waits now."""
        return len(self._queue)

    async def __aenter__(self) -> None:
        if self.running < self.max_running:
            self.running += 1
        elif len(self._queue) >= self.max_waiting:
            self.shed_at_once += 1
            raise Overloaded(f"{self.running} are running and {self.waiting} are waiting", self.retry_after_s)
        elif not await self._wait():
            self.shed_late += 1
            raise Overloaded("waited in vain: too many are waiting for too long", self.retry_after_s)
        self.admitted += 1

    async def __aexit__(self, *exc_info: object) -> None:
        self._hand_over()

    async def _wait(self) -> bool:
        """Return whether a place was handed over in time."""
        loop = asyncio.get_running_loop()
        if not self._queue:
            self._queued_since_s = loop.time()
        wait_s = self.overload_wait_s if self._is_overloaded() else self.max_wait_s
        turn: asyncio.Future[bool] = loop.create_future()
        self._queue.append(turn)
        timer = loop.call_later(wait_s, self._give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn in self._queue:
                self._queue.remove(turn)
            elif not turn.cancelled() and turn.result():
                self._hand_over()  # it was cancelled when the place was its own already: do not lose it
            raise
        finally:
            timer.cancel()

    def _is_overloaded(self) -> bool:
        waited_s = asyncio.get_running_loop().time() - self._queued_since_s
        return bool(self._queue) and waited_s > self.max_wait_s

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._queue.remove(turn)
            turn.set_result(False)

    def _hand_over(self) -> None:
        """Give the place to one who waits; `running` goes down only if there is none."""
        while self._queue:
            turn = self._queue.pop() if self._is_overloaded() else self._queue.popleft()
            if not turn.done():  # else it was cancelled, and has not run since
                turn.set_result(True)
                return
        self.running -= 1
