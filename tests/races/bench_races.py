"""How fast the explorer is: schedules a second, median of five runs with their spread. Run it as a script.

python tests/races/bench_races.py
"""

import asyncio
import contextlib
import statistics
import time
from types import SimpleNamespace

import asyncpg
from deskbook.races import AsyncpgGate, SQLAlchemyGate, explore, post
from deskbook.races._subject.asgi import RequestTemplate
from deskbook.services import fresh_database
from fastapi import FastAPI
from race_cases.corpus import postgresql
from race_cases.corpus.in_memory import IN_MEMORY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

REPEATS = 5


def line(name, values, unit, target):
    values = sorted(values)
    median = statistics.median(values)
    print(
        f"{name:58} {median:10,.1f} {unit:12} ({values[0]:,.1f} to {values[-1]:,.1f})  target {target}",
        flush=True,
    )


async def rates(name, target, make, requests, schedules, **options):
    """Print schedules a second; every schedule is really run (no reduction)."""
    found, by_cpu = [], []
    for _ in range(REPEATS):
        started, cpu = time.perf_counter(), time.process_time()
        report = await explore(
            make, requests, max_seconds=300, max_schedules=schedules, reduce=False, **options
        )
        assert report.counterexample is None, report
        # Random schedules follow when the budget of systematic ones has ended; they are runs as well.
        runs = report.runs + (max(50, schedules // 4) if report.verdict == "inconclusive" else 0)
        found.append(runs / (time.perf_counter() - started))
        by_cpu.append(runs / (time.process_time() - cpu))
    line(name, found, "schedules/s", target)
    line("  the same in this process's own CPU time", by_cpu, "schedules/s", "")


async def service(subject):
    for _ in range(3):
        balance = subject.balance
        await asyncio.sleep(0)
        if subject.balance == balance:
            subject.balance = balance - 1
            return True
    return False


def one_route_app():
    app = FastAPI()
    app.state.balance = 100

    @app.post("/withdraw")
    async def withdraw(amount: int):
        while True:
            await asyncio.sleep(0)
            balance = app.state.balance
            await asyncio.sleep(0)
            if app.state.balance == balance:
                app.state.balance = balance - amount
                return {"balance": balance - amount}

    return app


def reset_app(app):
    app.state.balance = 100


def reset_subject(subject):
    subject.balance = 100


async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message):
    return None


def yardstick():
    """Print what the machine gives at this moment: three calls of the same app and nothing else.

    No loop, no task, no response: FastAPI alone. No explorer of this app can be faster.
    """
    template, app, found = RequestTemplate(post("/withdraw", params={"amount": 1})), one_route_app(), []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(900):
            call = app(template.fresh_scope(None), receive, send)
            with contextlib.suppress(StopIteration):
                while True:
                    call.send(None)
        found.append(300 / (time.perf_counter() - started))
    line("yardstick: three calls of the app alone, the limit of raw ASGI", found, "triples/s", "")


async def in_process():
    yardstick()
    three = dict.fromkeys("ABC", service)
    http = dict.fromkeys("ABC", post("/withdraw", params={"amount": 1}))
    await rates(
        "service functions, reset",
        "10,000",
        lambda: SimpleNamespace(balance=100),
        three,
        4_000,
        reset=reset_subject,
    )
    await rates("raw ASGI, reset", "2,500", one_route_app, http, 1_500, reset=reset_app)
    await rates("httpx, reset", "800", one_route_app, http, 600, reset=reset_app, send="httpx")
    await rates("raw ASGI, a fresh app for every schedule", "700", one_route_app, http, 600)


async def exhaustion():
    for requests, awaits in ((2, 7), (3, 3)):

        async def waits(subject, awaits=awaits):
            for _ in range(awaits):
                await asyncio.sleep(0)

        for reduce in (False, True):
            seconds = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                report = await explore(
                    object, dict.fromkeys("ABC"[:requests], waits), reduce=reduce, max_seconds=300
                )
                assert report.verdict == "exhausted"
                seconds.append(time.perf_counter() - started)
            name = f"{requests} requests with {awaits} awaits, {report.schedules:,} schedules"
            line(name + (", twins reduced" if reduce else ""), seconds, "s", "5")


async def corpus():
    firsts, proofs = [], []
    for case in IN_MEMORY:
        seconds = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            report = await explore(
                case.make, case.requests, invariant=case.check, max_seconds=5, **case.options
            )
            seconds.append(time.perf_counter() - started)
        if case.truth == "wrong":
            assert report.verdict == "counterexample", case.name
            firsts.append(statistics.median(seconds) * 1e3)
        else:
            proofs.append(report.verdict == "exhausted")
    line(
        f"first counterexample over {len(firsts)} wrong fixes, median",
        [statistics.median(firsts)],
        "ms",
        "50",
    )
    line(f"first counterexample over {len(firsts)} wrong fixes, worst", [max(firsts)], "ms", "1,000")
    line(f"right fixes exhausted within 5 s, of {len(proofs)}", [sum(proofs)], "cases", "90 %")


async def postgres():
    case = next(case for case in postgresql.CASES if case.name == "select_for_update")
    with fresh_database() as url:
        async with asyncpg.create_pool(url, min_size=4, max_size=4) as pool:
            await pool.execute(postgresql.TABLES)
            await postgresql.reset_postgres(pool)

            async def back(pool):
                # Not the TRUNCATE of the corpus: that takes longer than a schedule.
                await pool.execute("update account set balance = 100 where id = 1")

            async def take_at_once(pool):
                update = "update account set balance = balance - 60 where id = 1 and balance >= 60"
                return await pool.execute(update) == "UPDATE 1"

            common = {"invariant": case.check, "reset": back}
            await rates("asyncpg, atomic update, three requests", "200", lambda: pool,
                        dict.fromkeys("ABC", take_at_once), 100, gate=AsyncpgGate(url), **common)  # fmt: skip
            three = dict.fromkeys("ABC", case.requests["A"])
            await rates("asyncpg, FOR UPDATE, two requests", "", lambda: pool, case.requests, 60,
                        gate=AsyncpgGate(url), **common)  # fmt: skip
            seconds = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                report = await explore(lambda: pool, three, gate=AsyncpgGate(url), preemption_bound=2,
                                       max_seconds=60, **common)  # fmt: skip
                assert report.counterexample is None
                seconds.append(time.perf_counter() - started)
            line(f"three transactions, two preemptions ({report.verdict})", seconds, "s", "10")
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
        sessions = async_sessionmaker(engine)

        async def take(subject):
            async with sessions() as session:
                done = await session.execute(
                    text("update account set balance = balance - 60 where id = 1 and balance >= 60")
                )
                await session.commit()
                return done.rowcount == 1

        async def reset():
            async with engine.begin() as connection:
                await connection.execute(text("update account set balance = 100 where id = 1"))

        three = dict.fromkeys("ABC", take)
        await rates("SQLAlchemy, atomic update, three requests", "100", lambda: None, three, 100,
                    gate=SQLAlchemyGate(engine), reset=reset)  # fmt: skip
        await engine.dispose()


def main():
    """Print all figures."""
    for part in (in_process, exhaustion, corpus, postgres):
        asyncio.run(part())


if __name__ == "__main__":
    main()
