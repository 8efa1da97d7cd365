"""What only Linux can do. Elsewhere these functions do nothing, and `has_prctl` says so."""

from __future__ import annotations

import ctypes
import sys

#: Options of prctl(2).
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

#: It is loaded in the parent, because a forked child must not wait for the lock of the dynamic linker.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def has_prctl() -> bool:
    """Say whether this system has prctl(2)."""
    return _libc is not None


def prctl(option: int, value: int) -> None:
    """Change how the kernel treats this process; elsewhere nothing happens.

    Section 2 of the manual explains prctl and its options.
    """
    if _libc is not None:
        _libc.prctl(option, value)


def give_back_freed_memory() -> None:
    """Return freed memory to the system: glibc keeps it for later, musl has no such function."""
    if _libc is not None and hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
