"""The figures as Markdown: for people who compare, with the goal beside each and what is missed said."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from measuring.growth import PAGE
from measuring.rates import CONNECTIONS, GOALS, Rates
from measuring.transfers import GOALS as TRANSFER_GOALS
from measuring.transfers import GROWTH_GOAL_MB, Transfer

P99_GOAL = 5.0
DEEP_PAGE_GOAL = 1.5


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown; all columns but the first are numbers."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the median with the smallest and the largest value."""
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def verdict(is_met: bool) -> str:
    """Say whether a goal is met."""
    return "met" if is_met else "**missed**"


def rates_table(found: dict[str, Rates]) -> str:
    """Return requests a second as shares of the bare endpoints."""
    rows = []
    for name, rates in found.items():
        goal = GOALS.get(name)
        is_met = goal is None or statistics.median(rates.of_fastapi) >= goal
        rows.append(
            [
                name,
                spread(rates.of_fastapi, 3),
                f"{goal:g}" if goal else "",
                verdict(is_met) if goal else "",
                f"{statistics.median(rates.of_starlette):.3f}",
                f"{statistics.median(rates.per_s):,.0f}",
                f"{statistics.median(rates.cpu_us):,.0f}",
            ]
        )
    titles = ["", "of bare FastAPI", "goal", "", "of bare Starlette", "answers/s", "worker CPU, µs"]
    return table(titles, rows)


def latencies_table(found: dict[str, list[tuple[float, float]]]) -> str:
    """Return p50 and p99 at half of the peak rate."""
    rows = []
    for name, rounds in found.items():
        ratios = [p99_s / p50_s for p50_s, p99_s in rounds]
        p50_ms, p99_ms = (statistics.median(values) * 1000 for values in zip(*rounds, strict=True))
        is_met = statistics.median(ratios) < P99_GOAL
        goal = [f"below {P99_GOAL:g}", verdict(is_met)] if name in GOALS else ["", ""]
        rows.append([name, f"{p50_ms:.2f}", f"{p99_ms:.2f}", spread(ratios, 1), *goal])
    return table(["", "p50, ms", "p99, ms", "p99 / p50", "goal", ""], rows)


def transfers_table(found: dict[str, list[Transfer]]) -> str:
    """Return rows a second and memory."""
    rows = []
    for name, rounds in found.items():
        goal, speeds = TRANSFER_GOALS[name], [one.rows_per_s for one in rounds]
        grown_mb = max(one.grown_mb for one in rounds)
        rows.append(
            [
                name,
                spread(speeds, 0),
                f"{goal:,}" if goal else "",
                verdict(statistics.median(speeds) >= goal) if goal else "",
                f"{grown_mb:.0f}",
                str(GROWTH_GOAL_MB),
                verdict(grown_mb <= GROWTH_GOAL_MB),
            ]
        )
    return table(["", "rows/s", "goal", "", "worker grew by, MB at most", "goal", ""], rows)


def rows_table(found: dict[int, dict[str, float]]) -> str:
    """Return how the rates change with the rows."""
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    rows = [
        [f"{count:,} orders", *(f"{figures[name]:,.0f}" if name in figures else "" for name in names)]
        for count, figures in found.items()
    ]
    most = found[max(found)]
    times = most["page 1"] / most["last page"]
    is_met = times <= DEEP_PAGE_GOAL
    return table(["answers/s", *names], rows) + (
        f"\nA page has {PAGE} orders. Of {max(found):,} orders, page {max(found) // PAGE:,} takes "
        f"{times:.2f} times as long as page 1 (goal: within {DEEP_PAGE_GOAL:g}, {verdict(is_met)}).\n"
    )


def workers_table(found: dict[int, dict[str, float]]) -> str:
    """Return what a second worker brings."""
    rows = [
        [name, f"{one:,.0f}", f"{found[2][name]:,.0f}", f"{found[2][name] / one:.2f}"]
        for name, one in found[1].items()
    ]
    return table(["answers/s", "1 worker", "2 workers", "ratio"], rows)


def machine_table(found: dict[str, str]) -> str:
    """Return what it was measured on."""
    return table(["", ""], ([name, value] for name, value in found.items())).replace("---:", "---")


INTRODUCTION = f"""# Benchmarks

Written by `make bench`; do not edit. One uvicorn worker with its whole middleware stack, {CONNECTIONS}
connections, a token in every request. Ratios are to a bare FastAPI (Starlette) endpoint that returns one
quote, measured in the same round; the load generator, PostgreSQL and Valkey run on the same cores. PostgreSQL
writes each commit to the disk before it answers. Figures are medians of {{rounds}} rounds (of latencies, rows
and workers 3 at most), with the smallest and the largest in brackets. A goal of the project that was missed
stands here as such.
"""
RATES = """
"worker CPU" is the processor time of the server process for one answer: a busy machine changes it less than
the answers a second.
"""
LATENCIES = """
An open loop asks at half of the peak rate whatever the answers do; a latency counts from the moment at which
the request was due. Meanwhile the host of this virtual machine kept {stolen:.1%} of one processor from it:
what is late for that reason is late for the bare endpoint too.
"""
TRANSFERS = """
The client is a plain socket. Of an import, all rows are new; each is validated.
"""
WORKERS = """
Both on the same database. On two cores the second worker shares them with the load generator and PostgreSQL.
"""
WHERE = """
## Where the time goes

By a sampling profiler (py-spy) on the worker and by counting messages to PostgreSQL, on a busy machine: these
are shares, and were not measured in this run. What begins with "about" is an estimate from processor times.

- An instrument or a quote from memory: called in one process, without a server, about 215 microseconds
  where a bare endpoint takes 85. The layers of middleware, timed alone, are 36 of them: the rate limit and
  the token 9, metrics 8, the correlation id 7, the drain 5. The rest is FastAPI with parameters, the
  dependency that checks the token and more routes to look through. uvicorn and the event loop come on top,
  for both.
- One order, a page: one round trip to PostgreSQL, straight through the driver. Sending, waking up and
  receiving take the worker about two to three times as long as a bare answer. A page spends more on its
  JSON: making and writing 100 orders takes 0.33 ms as dataclasses, 1.35 as pydantic models.
- The tail of a page was garbage collection: a full one took 0.1 s every few seconds, 4 ms since the objects
  of the start are frozen (infra/process/garbage_collection.py).
- Placing an order: seven round trips (begin, lock of the key, look for its reply, hold the cash, order with
  job and event, store the reply, commit), which are most of it; PostgreSQL takes about half of the worker's
  processor time. They are the statements of different patterns and nouns, each of which can be read and
  tested alone. Joining the two of the key, and the hold with the order, would save two more (not tried), at
  the price of one statement that knows the ledger, the orders and the keys.
- Import: PostgreSQL takes four fifths: reading the text and its constraints a quarter of that, the INSERT
  with ON CONFLICT and the primary key the rest. A foreign key, checked row by row, took as much again
  (migration 0011). The worker matches a block of lines with one pattern, 2 microseconds a row.
- Export: PostgreSQL takes three quarters, most of it for turning five `numeric` a row into text; the worker
  passes on what it gets, while the next portion is being read.
"""
