"""Load generation and latencies.

    run = await load(desk.url + "/quotes/ACME", clients=8, requests=400)
    assert run.percentile_s(99) < 10 * run.percentile_s(50)

The generator is a process of its own, so that it neither slows the notebook nor is slowed by it.
A closed loop (the default) has `clients` that each wait for their answer before they ask again. An open loop
(`rate_per_s=200`) asks at a fixed rate whatever the answers do, as independent users would, and counts
every latency from the moment the request was due: a server that stalls cannot hide it by not being asked
(coordinated omission; Gil Tene, "How NOT to Measure Latency").

`load` and `load_together` are coroutines; a script wraps them in `asyncio.run`.
"""

from deskbook.load.bound import more_than
from deskbook.load.errors import LoadError
from deskbook.load.result import LoadResult
from deskbook.load.run import load, load_together
from deskbook.load.workload import Workload

__all__ = ["LoadError", "LoadResult", "Workload", "load", "load_together", "more_than"]
