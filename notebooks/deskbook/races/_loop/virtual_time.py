"""The module `time` under the virtual clock, for the exploring thread alone.

A cache that stamps its entries with `time.monotonic()` must see the same clock as `asyncio.sleep`, else its
expiry is never explored and a replay is not the same run. Other threads (a notebook has several) keep the
real clock. Not covered: `datetime.now()` and names that were imported before (`from time import monotonic`).

Random numbers are the same in every run too, those of `random` and those of the operating system (`uuid4`,
`secrets`): else a replay could take another way, and no two answers with an id in them would be equal.
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import Any, Protocol

from deskbook.races._loop.threads import in_controlled_thread, sleep_controlled
from deskbook.races._subject.actors import REQUEST

#: Seconds by which the clock starts later in a run with another seed.
SECONDS_PER_SEED = 1.5


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
        # The real time, because not everything can be given another one: `datetime.now()`, a thread of the
        # service's own. A stamp that such code compares with its own clock must not be years old.
        self._wall_epoch_s = self._run_epoch_s = time.time()
        self._seed = 0
        self._draws: dict[str, random.Random] = {}
        self._seeded: dict[int, Any] = {}

    def __enter__(self) -> VirtualTime:
        self._owner = threading.get_ident()
        self._real: dict[str, Any] = {name: getattr(time, name) for name in ("time", "monotonic", "sleep")}
        self._random_state = random.getstate()
        time.time = self._time
        time.monotonic = self._monotonic
        time.sleep = self._sleep  # type: ignore[assignment]
        self._real_urandom = os.urandom
        os.urandom = random._urandom = self._urandom  # type: ignore[attr-defined]
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name, function in self._real.items():
            setattr(time, name, function)
        os.urandom = random._urandom = self._real_urandom  # type: ignore[attr-defined]
        random.setstate(self._random_state)

    def new_run(self, seed: int = 0) -> None:
        """Start over with the random numbers, and say at which moment the run begins."""
        if seed not in self._seeded:
            self._seeded[seed] = random.Random(seed).getstate()  # noqa: S311 - the same on every run
        random.setstate(self._seeded[seed])
        self._seed = seed
        self._draws.clear()
        self._run_epoch_s = self._wall_epoch_s + SECONDS_PER_SEED * seed

    def _urandom(self, size: int) -> bytes:
        """Return the bytes of `uuid4`, `secrets` and their kin: each request has its own, always the same.

        One stream for all would give a request another id as soon as another one draws before it, and every
        such order would be a result of its own.
        """
        if not self._is_ours():
            return self._real_urandom(size)
        request = REQUEST.get() or ""
        stream = self._draws.get(request)
        if stream is None:
            stream = self._draws[request] = random.Random(f"{self._seed} {request}")  # noqa: S311
        return stream.randbytes(size)

    def _is_ours(self) -> bool:
        return threading.get_ident() == self._owner or in_controlled_thread()

    def _time(self) -> float:
        if self._is_ours():
            return self._run_epoch_s + self._clock.now_s - self._epoch_s
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
