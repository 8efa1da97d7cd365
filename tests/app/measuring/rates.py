"""Answers a second, and how late the late ones are.

Every round measures the bare apps and then the desk, so that a busy moment of the machine hits all of them;
what counts is the ratio within a round.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from deskbook.load import LoadResult, Workload, load_together
from deskbook.serving import ServedApp
from measuring.bare import Bare
from measuring.desk import CONNECTIONS, Desk
from measuring.process import cpu_s

SECONDS = 2.0
#: Few: the connections of the first workload wait for the warm-up of the last, and uvicorn closes one that is
#: idle for five seconds.
WARM_UP = 96
#: Answers that were not what was asked for. They end no run of ten minutes; they do not count as answers, and
#: stand in the report.
disturbances: list[str] = []

#: What issue "The reference app" asks for: answers a second as a share of a bare FastAPI endpoint's.
GOALS = {
    "cached quote": 0.5,
    "instrument": 0.5,
    "instrument, 304": 0.5,
    "one order": 0.15,
    "page of 100 orders": 0.05,
    "place an order": 0.06,
}
STATUS = {"instrument, 304": 304, "place an order": 201}

Requests = Sequence[dict[str, Any]]


@dataclass
class Rates:
    """What the rounds found for one endpoint."""

    per_s: list[float] = field(default_factory=list)
    of_fastapi: list[float] = field(default_factory=list)
    of_starlette: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


async def requests_of(desk: Desk) -> dict[str, Requests]:
    """Return what is sent for each figure: one request for all connections, or one for each."""
    instrument, headers = "/v1/instruments/AAPL", desk.headers
    async with httpx.AsyncClient(base_url=desk.app.url, headers=headers) as client:
        tag = (await client.get(instrument)).headers["etag"]
        order = (await client.get("/v1/orders?limit=1")).json()["items"][0]["id"]
    return {
        "cached quote": [{"path": "/v2/instruments/AAPL/quote", "headers": headers}],
        "instrument": [{"path": instrument, "headers": headers}],
        "instrument, 304": [{"path": instrument, "headers": headers | {"If-None-Match": tag}}],
        "one order": [{"path": f"/v1/orders/{order}", "headers": headers}],
        "page of 100 orders": [{"path": "/v1/orders?limit=100", "headers": headers}],
        "place an order": desk.placing(),
    }


async def run(
    app: ServedApp, requests: Requests, status: int = 200, seconds: float = SECONDS, rate_per_s: float = 0
) -> list[LoadResult]:
    """Send requests for some seconds; what has not this status is noted in `disturbances`.

    Args:
        app: Who is asked.
        requests: Shared by all connections, or one for each.
        status: That every answer shall have.
        seconds: For how long.
        rate_per_s: Of an open loop; 0: each connection asks again when it has its answer.
    """
    share = len(requests)
    workloads = [
        Workload(
            url=app.url + request["path"],
            clients=CONNECTIONS // share,
            requests=10**6,
            seconds=seconds,
            rate_per_s=rate_per_s / share if rate_per_s else None,
            # They do not all ask at the same moment, as independent users would not.
            start_after_s=number / rate_per_s if rate_per_s else 0.0,
            warm_up_requests=WARM_UP // share,
            timeout_s=30,
            **{name: value for name, value in request.items() if name != "path"},
        )
        for number, request in enumerate(requests)
    ]
    results = await load_together(*workloads)
    for result in results:
        wrong = {kind: count for kind, count in result.statuses.items() if kind != status}
        if wrong or result.errors:
            disturbances.append(f"{result.name}: {wrong | result.errors} among {status}")
            print(disturbances[-1], flush=True)
    return results


def per_s(results: list[LoadResult], status: int) -> float:
    """Return the right answers a second of all together."""
    answers = sum(result.statuses.get(status, 0) for result in results)
    return answers / max(result.duration_s for result in results)


async def measure(app: ServedApp, requests: Requests, status: int = 200) -> tuple[float, float]:
    """Return answers a second, and microseconds of the server's processor time for each."""
    before_s = cpu_s(app.pid)
    results = await run(app, requests, status)
    answers = sum(result.requests for result in results) + WARM_UP
    return per_s(results, status), (cpu_s(app.pid) - before_s) / answers * 1e6


async def rates(desk: Desk, bare: Bare, rounds: int) -> dict[str, Rates]:
    """Return what so many rounds found, for the bare apps and the desk."""
    requests = await requests_of(desk)
    quote = [{"path": "/quote"}]
    found = {name: Rates() for name in ("bare Starlette", "bare FastAPI", *requests)}
    for _ in range(rounds):
        starlette, starlette_cpu_us = await measure(bare.starlette, quote)
        fastapi, fastapi_cpu_us = await measure(bare.fastapi, quote)
        measured = {
            "bare Starlette": (starlette, starlette_cpu_us),
            "bare FastAPI": (fastapi, fastapi_cpu_us),
        }
        for name, sent in requests.items():
            measured[name] = await measure(desk.app, sent, STATUS.get(name, 200))
        for name, (rate, cpu_us) in measured.items():
            found[name].per_s.append(rate)
            found[name].cpu_us.append(cpu_us)
            found[name].of_fastapi.append(rate / fastapi)
            found[name].of_starlette.append(rate / starlette)
    return found


async def latencies(
    desk: Desk, bare: Bare, peaks: dict[str, Rates], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Return (p50, p99) in seconds of each round, for an open loop at half of the peak rate.

    The bare app stands beside the desk: what is late there too is the machine.
    """
    asked = {"bare FastAPI": (bare.fastapi, [{"path": "/quote"}])}
    asked |= {name: (desk.app, requests) for name, requests in (await requests_of(desk)).items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, (app, requests) in asked.items():
            half = statistics.median(peaks[name].per_s) / 2
            results = await run(app, requests, STATUS.get(name, 200), seconds=3, rate_per_s=half)
            late = sorted(one for result in results for one in result.latencies_s)
            found[name].append((late[len(late) // 2], late[len(late) * 99 // 100]))
    return found
