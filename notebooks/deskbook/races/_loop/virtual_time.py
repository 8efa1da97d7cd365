"""The module `time` under the virtual clock, for the exploring thread alone.

A cache that stamps its entries with `time.monotonic()` must see the same clock as `asyncio.sleep`, else its
expiry is never explored and a replay is not the same run. Other threads (a notebook has several) keep the
real clock. Not covered: `datetime.now()` and names that were imported before (`from time import monotonic`).
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any, Protocol

from deskbook.races._loop.threads import in_controlled_thread, sleep_controlled

#: Seconds that `time.time()` starts at: 2023-11-14 22:13:20 UTC.
WALL_EPOCH_S = 1_700_000_000.0


class Clock(Protocol):
    """What has a virtual time."""

    now_s: float

    def advance(self, seconds: float) -> None:
        """Move the clock."""


class VirtualTime:
    """Patches the module `time` while it is entered, and gives every run the same random numbers.

    Args:
        clock: The loop whose time is shown.
        epoch_s: The time of `clock` at the start of a run.
    """

    def __init__(self, clock: Clock, epoch_s: float) -> None:
        self._clock = clock
        self._epoch_s = epoch_s
        self._seeded = random.Random(0).getstate()  # noqa: S311 - not for secrets: the same numbers on every run

    def __enter__(self) -> VirtualTime:
        self._owner = threading.get_ident()
        self._real: dict[str, Any] = {name: getattr(time, name) for name in ("time", "monotonic", "sleep")}
        self._random_state = random.getstate()
        time.time = self._time
        time.monotonic = self._monotonic
        time.sleep = self._sleep  # type: ignore[assignment]
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name, function in self._real.items():
            setattr(time, name, function)
        random.setstate(self._random_state)

    def new_run(self) -> None:
        """Start over with the random numbers."""
        random.setstate(self._seeded)

    def _is_ours(self) -> bool:
        return threading.get_ident() == self._owner or in_controlled_thread()

    def _time(self) -> float:
        if self._is_ours():
            return WALL_EPOCH_S + self._clock.now_s - self._epoch_s
        return float(self._real["time"]())

    def _monotonic(self) -> float:
        return self._clock.now_s if self._is_ours() else float(self._real["monotonic"]())

    def _sleep(self, seconds: float) -> None:
        if in_controlled_thread():
            sleep_controlled(seconds)
        elif threading.get_ident() == self._owner:
            self._clock.advance(seconds)  # a blocking sleep on the loop: time passes and nobody else runs
        else:
            self._real["sleep"](seconds)
