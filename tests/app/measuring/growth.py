"""How figures change with the rows of the table, with the place of a page, and with the workers."""

from __future__ import annotations

import statistics
from types import SimpleNamespace
from typing import Any

from deskbook.serving import serving_app
from measuring.desk import Desk, running_desk
from measuring.rates import STATUS, measure, requests_of

from reference_app.orders.repository import NEWEST_FIRST

ROWS = (10_000, 100_000, 1_000_000)
PAGE = 100


async def page_request(desk: Desk, number: int) -> dict[str, Any]:
    """Return the request of a page, as following the links from the first one would reach it."""
    newest = int((await desk.fetchval("SELECT max(id) FROM orders WHERE state = 'cancelled'")) or 0)
    path = f"/v1/orders?limit={PAGE}"
    if number > 1:
        last = newest - PAGE * (number - 1) + 1
        cursor = NEWEST_FIRST.page(
            [SimpleNamespace(id=last), SimpleNamespace(id=last - 1)], size=1
        ).next_cursor
        path += f"&cursor={cursor}"
    return {"path": path, "headers": desk.headers}


async def by_rows(desk: Desk, rounds: int, already: int) -> dict[int, dict[str, float]]:
    """Return answers a second for tables of different size; medians.

    Args:
        desk: Whose first account gets the orders.
        rounds: Of each figure.
        already: How many orders it has.
    """
    found: dict[int, dict[str, float]] = {}
    for rows in ROWS:
        await desk.add_orders(rows - already)
        already = rows
        requests = await requests_of(desk)
        chosen = {name: requests[name] for name in ("one order", "place an order")}
        pages = {"page 1": 1, "page in the middle": rows // PAGE // 2, "last page": rows // PAGE}
        chosen |= {name: [await page_request(desk, number)] for name, number in pages.items()}
        figures: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(rounds):
            for name, sent in chosen.items():
                figures[name].append((await measure(desk.app, sent, STATUS.get(name, 200)))[0])
        found[rows] = {name: statistics.median(values) for name, values in figures.items()}
    return found


async def by_workers(desk: Desk, rounds: int) -> dict[int, dict[str, float]]:
    """Return answers a second of one and of two workers on the same database; medians."""
    names = ("cached quote", "one order", "place an order")
    figures: dict[int, dict[str, list[float]]] = {}
    async with (
        running_desk(workers=2, beside=desk) as two,
        serving_app("bare_fastapi_of_the_bench:app", workers=2) as bare_two,
        serving_app("bare_fastapi_of_the_bench:app") as bare_one,
    ):
        for _ in range(rounds):
            for workers, app, served in ((1, bare_one, desk), (2, bare_two, two)):
                found = figures.setdefault(workers, {})
                rate = (await measure(app, [{"path": "/quote"}]))[0]
                found.setdefault("bare FastAPI", []).append(rate)
                requests = await requests_of(served)
                for name in names:
                    rate = (await measure(served.app, requests[name], STATUS.get(name, 200)))[0]
                    found.setdefault(name, []).append(rate)
    return {
        workers: {name: statistics.median(values) for name, values in found.items()}
        for workers, found in figures.items()
    }
