"""Run a module as `python -m` does, and end it when stdin ends: `python -m deskbook.serving.lifeline MODULE`.

Whoever started it holds the other end of the pipe, and lets go of it even when killed with -9.
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import signal
import sys
import threading
import time

GRACE_S = 5.0


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


def main() -> None:
    """Watch stdin in a thread and run the module in this one."""
    # Without it the interpreter looks through every object once more on its way out: 0.1 s of each end.
    atexit.register(gc.freeze)
    threading.Thread(target=_end_with_stdin, daemon=True, name="end with stdin").start()
    _, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
