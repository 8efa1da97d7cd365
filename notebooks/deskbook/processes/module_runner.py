"""Run a module as `python -m` does, and end it when stdin ends.

python -m deskbook.processes.module_runner MODULE [ARGUMENT]...
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import signal
import sys

from deskbook.processes.lifeline import end_with_stdin

#: How long a module may take to end, in seconds.
GRACE_S = 5.0


def main() -> None:
    """Watch stdin in a thread and run the module in this one."""
    # Without it the interpreter looks through every object once more on its way out: 0.1 s of each end.
    atexit.register(gc.freeze)
    end_with_stdin(lambda: os.kill(os.getpid(), signal.SIGTERM), patience_s=GRACE_S)
    _, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
