"""Child processes: started in a hundredth of a second, never outliving their owner, leaving nothing behind.

    fork_server.py     a process that has imported everything, and forks others to order
    forked_process.py  what it has forked, as `subprocess.Popen` shows a process of one's own
    fork_child.py      the fork server's own side
    socket_child.py    a process that works for the other end of its socket, and ends with it
    module_runner.py   `python -m` with a lifeline: the module ends when stdin does
    lifeline.py        end with the parent, or when stdin ends
    termination.py     ask, wait, kill; one process or its whole group
    leftovers.py       what a killed process could not remove: folders, servers, orphans
    fork_local.py      a global that a forked child does not share with its parent
    memory.py          keep a fork from copying the pages that it shares
    linux.py           what only Linux can do

A fork server for servers of an app:

    server = ForkServer("fastapi", "uvicorn")
    process = server.start("deskbook.serving.server_process:main", ["{}"], environment=environment, log=log)
    process.stdout.readline()

A fresh interpreter needs half a second of processor time to import FastAPI and uvicorn, and a lesson starts
a dozen of them. `multiprocessing` has a fork server too; it imports the caller's `__main__` in each child,
and at its end it either waits for the children or forbids them children of their own.

This package needs the standard library alone: the process that owns the database servers starts without
site-packages.
"""
