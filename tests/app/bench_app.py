"""How fast is the reference app? `make bench` runs this and writes BENCHMARKS.md; so does the script alone.

    python tests/app/bench_app.py                 everything, about ten minutes on a quiet machine
    python tests/app/bench_app.py rates --rounds 1    one part (rates, latencies, rows, workers, transfers),
                                                      which is printed and not written

What the figures are made of stands at the end of BENCHMARKS.md (`measuring/report.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from measuring import report
from measuring.bare import bare_apps
from measuring.desk import ORDERS, durable_commits, running_desk
from measuring.growth import by_rows, by_workers
from measuring.process import machine, stolen_s
from measuring.rates import disturbances, latencies, rates
from measuring.transfers import transfers

BENCHMARKS = Path(__file__).parents[2] / "BENCHMARKS.md"
PARTS = ("rates", "latencies", "rows", "workers", "transfers")
ROUNDS = 5
#: Rounds of what has no goal, or takes long.
FEWER = 3


async def sections(parts: set[str], rounds: int) -> list[str]:
    """Measure, print a section for each part, and return them."""
    fewer = min(rounds, FEWER)
    found: list[str] = []

    def add(title: str, *texts: str) -> None:
        found.append("\n".join([f"## {title}\n", *(text.strip("\n") + "\n" for text in texts)]))
        print(found[-1], flush=True)

    async with running_desk() as desk, durable_commits(desk.app.settings["DATABASE_URL"]):
        about = await machine(desk.app.settings["DATABASE_URL"], desk.redis_url)
        add("Machine", report.machine_table(about))
        await desk.add_orders(ORDERS)
        async with bare_apps() as bare:
            if parts & {"rates", "latencies"}:
                peaks = await rates(desk, bare, rounds)
                add("Answers a second", report.rates_table(peaks), report.RATES)
            if "latencies" in parts:
                before_s, stolen_before_s = time.monotonic(), stolen_s()
                late = await latencies(desk, bare, peaks, fewer)
                stolen = (stolen_s() - stolen_before_s) / (time.monotonic() - before_s)
                text = report.LATENCIES.format(stolen=stolen)
                add("Latency at half of the peak rate", report.latencies_table(late), text)
            if "rows" in parts:
                add("More rows", report.rows_table(await by_rows(desk, fewer, ORDERS)))
            if "workers" in parts:
                add("More workers", report.workers_table(await by_workers(desk, fewer)), report.WORKERS)
    if "transfers" in parts:
        # A fresh worker: what it has grown by is of the transfers.
        async with running_desk() as desk, durable_commits(desk.app.settings["DATABASE_URL"]):
            moved = await transfers(desk, rounds)
        add("A million rows in and out", report.transfers_table(moved), report.TRANSFERS)
    if disturbances:
        add("Disturbances", "These were no right answers:", "\n".join(f"- {it}" for it in disturbances))
    return found


def main() -> None:
    """Measure what the command line names; write BENCHMARKS.md when that is everything."""
    parser = argparse.ArgumentParser(description="Measure the reference app.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; none: all of them")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    started_s = time.monotonic()
    found = asyncio.run(sections(set(arguments.parts or PARTS), arguments.rounds))
    minutes = (time.monotonic() - started_s) / 60
    if not arguments.parts:
        introduction = report.INTRODUCTION.format(rounds=arguments.rounds)
        BENCHMARKS.write_text("\n".join([introduction, *found, report.WHERE.lstrip()]), encoding="utf-8")
        print(f"Written to {BENCHMARKS.name} after {minutes:.0f} minutes.")


if __name__ == "__main__":
    main()
