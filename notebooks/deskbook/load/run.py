"""Start the generator process, feed it the workloads, read what it measured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from deskbook.load.errors import LoadError
from deskbook.load.result import LoadResult, RequestTimes
from deskbook.load.workload import Workload

#: Seconds that the generator's interpreter may take to start on a busy machine.
START_S = 15.0


async def load(url: str, **options: Any) -> LoadResult:
    """Send requests to one address and return what came back.

    Args:
        url: An http:// address.
        options: The other fields of `Workload`: clients, rate_per_s, requests, seconds and so on.

    Raises:
        LoadError: A value makes no sense, nothing listens there, or the generator failed.
    """
    (result,) = await load_together(Workload(url=url, **options))
    return result


async def load_together(*workloads: Workload) -> list[LoadResult]:
    """Run several workloads side by side, from one generator process, and return a result for each.

    Raises:
        LoadError: Nothing listens there, or the generator failed.
    """
    plans = json.dumps([workload.plan() for workload in workloads]).encode()
    limit_s = START_S + sum(workload.longest_s for workload in workloads)
    answer = json.loads(await _generate(plans, limit_s))
    started_s = answer["started_monotonic_s"]
    return [
        _result(workload, run, started_s) for workload, run in zip(workloads, answer["runs"], strict=True)
    ]


def _result(workload: Workload, run: dict[str, Any], started_s: float) -> LoadResult:
    """Build the result of one workload from what the generator process wrote."""
    timeline = [
        RequestTimes(started_s + due_us / 1e6, started_s + sent_us / 1e6, started_s + done_us / 1e6, outcome)
        for due_us, sent_us, done_us, outcome in run["rows"]
    ]
    result = LoadResult(workload.name, timeline, run["ended_by"], run["generator_lag_s"])
    if result.requests and result.errors.get("refused") == result.requests:
        raise LoadError(
            f"Nothing listens at {workload.url}: all {result.requests} connections were refused. "
            "Start the server first, and look whether the block that keeps it open has ended."
        )
    return result


async def _generate(plans: bytes, limit_s: float) -> bytes:
    """Run the generator process; it never outlives this call, however the call ends."""
    generator = Path(__file__).with_name("generator.py")
    # -P keeps this folder off the generator's path. A session of its own: the interrupt of a notebook cell
    # goes to the whole process group, and the generator would answer it with a traceback instead of being
    # ended here.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(generator),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        limit=2**20,
    )
    try:
        async with asyncio.timeout(limit_s):
            answer, log = await process.communicate(plans)
    except TimeoutError:
        raise LoadError(
            f"The load generator was still running after {limit_s:.0f} s and was ended. "
            "Ask for fewer requests or fewer seconds."
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0 or log:  # an error in a callback of its event loop reaches the log alone
        last_line = (log.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise LoadError(f"The load generator failed with exit code {process.returncode}: {last_line}")
    return answer
