"""Keep every core busy for a while: a lesson that is green on a quiet machine alone is not done."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

#: One of these a core. It ends by itself when its parent has ended: a SIGKILL, too, leaves none behind.
_SPIN = "import os, sys\nparent = int(sys.argv[1])\nwhile os.getppid() == parent:\n    pass"


@contextlib.contextmanager
def busy_cores(cores: int | None = None) -> Iterator[list[int]]:
    """Run one process a core that does nothing but compute; yield their process numbers.

    They compete at the same priority as everything else, so that a program under test gets about half of
    each core.

    Args:
        cores: How many processes; by default one for each core of this machine.
    """
    command = [sys.executable, "-S", "-E", "-c", _SPIN, str(os.getpid())]
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(cores or os.cpu_count() or 1):
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            stack.callback(_end, process)
            processes.append(process)
        yield [process.pid for process in processes]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
