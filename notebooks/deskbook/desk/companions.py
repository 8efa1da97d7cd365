"""The processes of the desk besides its web workers: started together, and gone with the block."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

from deskbook.processes.module_runner import GRACE_S
from deskbook.processes.termination import wait_or_kill
from reference_app.processes import PROCESSES


@contextlib.contextmanager
def companions(
    settings: Mapping[str, str], *modules: str, quiet: bool = False
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run processes for the length of the block.

    Args:
        settings: Environment variables, besides those of this process: DATABASE_URL, REDIS_URL.
        modules: What to run; without any, one of each of the desk's processes.
        quiet: Whether what they log is thrown away.
    """
    processes = []
    try:
        for module in modules or PROCESSES.values():
            processes.append(_start(module, settings, quiet))
        yield processes
    finally:
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()  # the lifeline
        for process in processes:
            wait_or_kill(process, GRACE_S)


def _start(module: str, settings: Mapping[str, str], quiet: bool) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C goes to the server, which ends these in order.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "deskbook.processes.module_runner", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.DEVNULL if quiet else None,
        env={**os.environ, **settings},
        start_new_session=True,
    )
