"""What only Linux can do; elsewhere these functions do nothing, and say so."""

from __future__ import annotations

import ctypes
import sys

#: Options of prctl(2).
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

#: Loaded once in the parent: a forked child may not take the dynamic linker's lock.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def has_prctl() -> bool:
    """Say whether this system has prctl(2)."""
    return _libc is not None


def prctl(option: int, value: int) -> None:
    """Change how the kernel treats this process; elsewhere nothing happens. The manual: prctl, section 2."""
    if _libc is not None:
        _libc.prctl(option, value)


def give_back_freed_memory() -> None:
    """Return freed memory to the system: glibc keeps it for later, musl has no such function."""
    if _libc is not None and hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
