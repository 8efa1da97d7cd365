"""Locks of the module `threading` that wait by handing control back."""

from __future__ import annotations

import asyncio
import threading

from deskbook.races._errors import Deadlock
from deskbook.races._loop.threads.call import STUCK_AFTER_S, ControlledCall, loop_thread
from deskbook.races._loop.threads.worker import current, new_lock
from deskbook.races._loop.virtual import VirtualLoop


class ControlledLock:
    """A `threading.Lock` that waits by handing control back, when a controlled thread asks."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._holder: ControlledCall | None = None
        #: The thread that took it without being under control, or None.
        self._taken_by: int | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; see `threading.Lock.acquire`."""
        call: ControlledCall | None = getattr(current, "call", None)
        if call is None:
            return self._acquire_outside(blocking, timeout)
        if self._is_held_elsewhere():
            return self._acquire_for_real(blocking, timeout)
        if self._lock.locked() and (
            not blocking or not call.wait_until(lambda: not self._lock.locked(), timeout)
        ):
            return False
        # A thread of the service's own may have taken it since it was looked at.
        if not self._lock.acquire(False) and not self._acquire_for_real(blocking, timeout):
            return False
        self._holder = call
        return True

    def _is_held_elsewhere(self) -> bool:
        """Tell whether a thread holds the lock that runs by itself, such as a janitor of the service."""
        taken_by = self._taken_by
        return taken_by is not None and self._lock.locked() and taken_by != loop_thread()

    def _acquire_for_real(self, blocking: bool, timeout: float) -> bool:
        longest = STUCK_AFTER_S if timeout < 0 else timeout
        return bool(self._lock.acquire(blocking, longest if blocking else -1))

    def _acquire_outside(self, blocking: bool, timeout: float) -> bool:
        if not is_controlled_loop_running():
            taken = bool(self._lock.acquire(blocking, timeout))
            if taken:
                self._taken_by = threading.get_ident()
            return taken
        if self._is_held_elsewhere():
            return self._acquire_for_real(blocking, timeout)
        # On the loop's own thread: nothing but the thread that holds the lock can free it.
        while self._lock.locked():
            holder = self._holder
            if not blocking:
                return False
            if holder is None or holder.finished or holder.waits_until is not None:
                message = "the event loop itself blocks on a threading lock that a waiting request holds"
                # The service may answer 500 for what is raised here, or swallow it, as no real lock would
                # let it; so the loop remembers that in truth nothing could run any more.
                running_loop().blocked = message
                raise Deadlock(message)
            holder.resume()
        self._holder = None
        return bool(self._lock.acquire(False)) or self._acquire_for_real(blocking, timeout)

    def release(self) -> None:
        """Free the lock."""
        self._holder = self._taken_by = None
        self._lock.release()

    def locked(self) -> bool:
        """Tell whether the lock is taken."""
        return bool(self._lock.locked())

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class ControlledRLock(ControlledLock):
    """A `threading.RLock` of the same kind."""

    def __init__(self) -> None:
        super().__init__()
        self._owner: object = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, again if the caller has it."""
        me = getattr(current, "call", None) or threading.get_ident()
        if self._owner == me:
            self._count += 1
            return True
        if not super().acquire(blocking, timeout):
            return False
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        """Free the lock once."""
        if not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            super().release()

    def _is_owned(self) -> bool:
        return self._owner == (getattr(current, "call", None) or threading.get_ident())

    def _release_save(self) -> tuple[int, object]:
        saved = (self._count, self._owner)
        self._count, self._owner = 0, None
        super().release()
        return saved

    def _acquire_restore(self, saved: tuple[int, object]) -> None:
        super().acquire()
        self._count, self._owner = saved


def running_loop() -> VirtualLoop:
    """Return the controlled loop, which must be running."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def is_controlled_loop_running() -> bool:
    """Tell whether the code runs in the explored region."""
    loop = asyncio._get_running_loop()
    return isinstance(loop, VirtualLoop) and loop.exploring
