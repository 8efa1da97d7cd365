"""Start a Python process in a hundredth of a second: a fork of one that has imported everything already.

    server = ForkServer("fastapi", "uvicorn")
    process = server.start("deskbook.serving.child:main", ["{}"], environment=dict(os.environ), log=log)
    process.stdout.readline()

A fresh interpreter needs half a second of processor time to import FastAPI and uvicorn, and a lesson starts
a dozen of them. `multiprocessing` has a fork server too; it imports the caller's `__main__` in each child,
and at its end it either waits for the children or forbids them children of their own.
"""

from deskbook.forking.fork_server import ForkServer
from deskbook.forking.forked_process import ForkedProcess, ForkServerError

__all__ = ["ForkServer", "ForkServerError", "ForkedProcess"]
