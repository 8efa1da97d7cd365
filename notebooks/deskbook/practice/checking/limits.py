"""What one check may use: memory, files, processes. Limits for accidents, not against malice."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import signal
import struct
import sys
from pathlib import Path

#: Memory that an answer may take beyond what the worker has, in bytes.
MEMORY_BYTES = 512 << 20

#: Address space beyond the worker's; threads reserve much that they never touch.
ADDRESS_SPACE_BYTES = 3 << 30

#: Largest file that an answer may write, in bytes.
FILE_BYTES = 64 << 20

#: Processes that an answer may start.
PROCESSES = 32


def limit_resources() -> None:
    """Set the limits of this process and of all that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _at_most(resource.RLIMIT_FSIZE, FILE_BYTES)
    # macOS knows these two and enforces neither.
    with contextlib.suppress(ValueError, OSError):
        _at_most(resource.RLIMIT_AS, _size("VmSize") + ADDRESS_SPACE_BYTES)
        _at_most(resource.RLIMIT_DATA, _size("VmData") + MEMORY_BYTES)


def _at_most(kind: int, size_bytes: int) -> None:
    _, hard = resource.getrlimit(kind)
    wanted = size_bytes if hard == resource.RLIM_INFINITY else min(size_bytes, hard)
    resource.setrlimit(kind, (wanted, wanted))


def _size(name: str) -> int:
    """Return a figure of this process in bytes, 0 where the system does not tell."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) << 10
    return 0


def limit_forks() -> None:
    """Kill the whole check when the answer has forked too often: a fork bomb doubles in milliseconds.

    RLIMIT_NPROC would count every process of the user, and does not bind root.
    """
    shared = mmap.mmap(-1, 8)
    group = os.getpgrp()

    def count() -> None:
        (forks,) = struct.unpack("q", shared[:8])
        shared[:8] = struct.pack("q", forks + 1)
        if forks >= PROCESSES:
            os.killpg(group, signal.SIGKILL)

    os.register_at_fork(before=count)
