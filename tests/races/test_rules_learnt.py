"""Each rule that was learnt the hard way, and each mistake of the prototypes, as a test."""

import asyncio
import contextlib
import gc
import random
import threading
import time
from types import SimpleNamespace

import anyio
import pytest
from deskbook.races import BadSchedule, Diverged, can_overlap, explore, explore_sync, get, post, replay
from deskbook.races.schedule import parse, render
from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware


def app_with(handler):
    app = FastAPI()
    app.state.n = 0
    app.get("/")(handler(app))
    return app


def bumping(app):
    async def handler():
        value = app.state.n
        await asyncio.sleep(0)
        app.state.n = value + 1

    return handler


def racy():
    return app_with(bumping)


def n_is_two(app, responses):
    assert app.state.n == 2, f"n is {app.state.n}"


BOTH = {"A": get("/"), "B": get("/")}


async def test_rule_1_a_cancellation_is_called_a_cancelled_task_and_never_a_disconnect():
    def handler(app):
        async def handle():
            app.state.n += 1
            await asyncio.sleep(0)
            app.state.n -= 1

        return handle

    rule = lambda app, _: app.state.n == 0  # noqa: E731
    report = await explore(lambda: app_with(handler), BOTH, invariant=rule, cancel=["A"])
    text = report.text()
    assert "cancel(A)" in text
    assert "the task is cancelled here" in text
    assert "disconnect" not in text


async def test_rule_3_a_middleware_does_not_multiply_the_schedules():
    def make():
        app = racy()

        class Passing(BaseHTTPMiddleware):
            async def dispatch(self, request, call_next):
                return await call_next(request)

        app.add_middleware(Passing)
        return app

    report = await explore(
        make,
        BOTH,
        invariant=lambda app, _: app.state.n in (1, 2),
        observe=lambda app: {"n": app.state.n},
        collect_outcomes=True,
    )
    assert report.verdict == "exhausted"
    assert report.schedules < 100
    assert len(report.outcomes) == 2


async def test_rule_4_the_cancel_delivery_of_anyio_does_not_hang_the_explorer():
    async def request(subject):
        async with anyio.create_task_group() as group:
            with anyio.CancelScope(shield=True):
                group.cancel_scope.cancel()
                await anyio.lowlevel.checkpoint()
            subject.n += 1

    report = await explore(lambda: SimpleNamespace(n=0), {"A": request, "B": request}, max_seconds=5)
    assert report.verdict in {"exhausted", "counterexample"}


def late_arrival():
    return SimpleNamespace(value="old", cache=None)


async def load_slowly(s):
    value = s.value
    await asyncio.sleep(1)
    await asyncio.sleep(0)
    s.cache = value


async def change_later(s):
    await asyncio.sleep(2)
    s.value, s.cache = "new", None


LATE = {"A": load_slowly, "B": change_later}


def nothing_stale(s, responses):
    assert s.cache in (None, "new"), f"the cache holds {s.cache}"


async def test_rule_5_the_clock_is_a_choice():
    report = await explore(late_arrival, LATE, invariant=nothing_stale)
    assert report.verdict == "counterexample"
    assert "clock" in report.counterexample.schedule


async def test_rule_5_a_clock_that_is_held_back_is_not_called_exhausted():
    report = await explore(late_arrival, LATE, invariant=nothing_stale, clock="idle")
    assert report.verdict == "bounded"
    assert "the clock moves only when nothing can run" in report.covers


async def test_rule_6_a_lock_made_in_the_app_works_for_every_schedule():
    made = []

    def make():
        subject = SimpleNamespace(n=0, lock=asyncio.Lock())
        made.append(subject)
        return subject

    async def request(subject):
        async with subject.lock:
            value = subject.n
            await asyncio.sleep(0)
            subject.n = value + 1

    report = await explore(make, {"A": request, "B": request}, invariant=lambda s, _: s.n == 2)
    assert report.verdict == "exhausted"
    assert len(made) > 2


@pytest.mark.parametrize("swallow", [False, True])
async def test_rule_7_io_without_a_gate_is_reported_loudly(swallow):
    async def request(subject):
        with contextlib.suppress(Exception) if swallow else contextlib.nullcontext():
            await asyncio.open_connection("127.0.0.1", 9)

    report = await explore(object, {"A": request, "B": request}, invariant=lambda s, r: True)
    assert report.verdict == "inconclusive"
    assert "NOT UNDER CONTROL: the code used loop." in report.text()


async def test_rule_7_code_that_differs_between_runs_is_reported_as_divergence():
    calls = []

    async def request(subject):
        calls.append(1)
        for _ in range(1 + len(calls) % 3):
            await asyncio.sleep(0)

    report = await explore(object, {"A": request, "B": request})
    assert report.verdict == "inconclusive"
    assert "DIVERGED" in report.text()


async def test_rule_8_a_deadlock_is_told_as_its_cycle():
    def make():
        return SimpleNamespace(x=asyncio.Lock(), y=asyncio.Lock())

    async def one(s):
        async with s.x:
            await asyncio.sleep(0)
            async with s.y:
                pass

    async def other(s):
        async with s.y:
            await asyncio.sleep(0)
            async with s.x:
                pass

    report = await explore(make, {"A": one, "B": other})
    assert report.counterexample.failure.kind == "deadlock"
    text = report.text()
    assert "A waits at «one: async with s.y:» for a lock that B took at «other: async with s.y:»" in text
    assert "B waits at «other: async with s.x:» for a lock that A took at «one: async with s.x:»" in text


async def test_a_deadlock_is_not_hidden_by_a_cancellation_that_may_come():
    async def wait_for_ever(s):
        await asyncio.get_running_loop().create_future()

    report = await explore(object, {"A": wait_for_ever}, cancel=["A"])
    assert report.counterexample.failure.kind == "deadlock"


async def test_a_livelock_is_a_verdict_and_a_fair_spin_is_not():
    async def polite(s):
        while s.flag:
            await asyncio.sleep(0)
            if s.other:
                s.flag = False

    async def switch(s):
        await asyncio.sleep(0)
        s.other = True

    make = lambda: SimpleNamespace(flag=True, other=False)  # noqa: E731
    fair = await explore(make, {"A": polite, "B": switch})
    assert fair.verdict == "bounded", fair
    assert "no request spins for long" in fair.covers
    stuck = await explore(make, {"A": polite, "B": polite}, max_steps=300)
    assert stuck.counterexample.failure.kind == "livelock"


async def test_rules_9_and_11_the_bound_stands_next_to_the_verdict():
    async def request(s):
        await asyncio.sleep(0)

    report = await explore(object, {"A": request, "B": request})
    assert report.text().startswith(
        "exhausted: all 6 interleavings were tried, at every await of A and B in one process"
    )
    assert "asyncio itself would run some of these orders only with real I/O in between" in report.text()


async def test_only_exhausted_is_proven():
    async def request(s):
        for _ in range(6):
            await asyncio.sleep(0)

    both = {"A": lambda s: request(s), "B": lambda s: request(s)}
    exhausted = await explore(object, both)
    bounded = await explore(object, both, preemption_bound=1)
    short = await explore(object, both, max_schedules=20)
    assert (exhausted.verdict, exhausted.is_proven) == ("exhausted", True)
    assert (bounded.verdict, bounded.is_proven) == ("bounded", False)
    assert (short.verdict, short.is_proven) == ("inconclusive", False)
    assert "20 schedules" in short.covers
    assert "there would be 3,432 interleavings" in short.text()


async def test_failing_runs_are_not_kept_alive():
    alive = []

    class Heavy:
        def __init__(self):
            alive.append(1)

        def __del__(self):
            alive.pop()

    async def request(s):
        heavy = Heavy()
        await asyncio.sleep(0)
        raise ValueError(f"with {len(repr(heavy))} in its frame")

    report = await explore(object, {"A": request, "B": request}, stop_at_first=False)
    gc.collect()
    assert report.counterexample is not None
    assert not alive


async def test_threads_lines_of_a_lock_itself_are_no_steps():
    """The first stepper traced the lines of the lock: a false alarm."""

    def make():
        app = FastAPI()
        app.state.n = 0
        lock = threading.Lock()

        @app.get("/")
        def handler():
            with lock:
                value = app.state.n
                app.state.n = value + 1

        return app

    report = await explore(make, BOTH, invariant=n_is_two, preemption_bound=2, max_seconds=20)
    assert report.verdict == "bounded"


async def test_no_thread_is_left():
    def make():
        app = FastAPI()

        @app.get("/")
        def handler():
            return {}

        return app

    before = threading.active_count()
    await explore(make, BOTH)
    assert threading.active_count() <= before


async def test_threads_that_deadlock_are_a_verdict_and_end():
    def make():
        app = FastAPI()
        x, y = threading.Lock(), threading.Lock()

        def take(first, second):
            def handler():
                with first:  # noqa: SIM117 - two lines, so that another thread can run in between
                    with second:
                        pass

            return handler

        app.get("/one")(take(x, y))
        app.get("/other")(take(y, x))
        return app

    report = await explore(make, {"A": get("/one"), "B": get("/other")}, max_seconds=20)
    assert report.counterexample.failure.kind == "deadlock"


async def test_time_and_random_numbers_are_the_same_in_every_run():
    seen = set()

    async def request(s):
        before = time.monotonic()
        await asyncio.sleep(30)
        seen.add((time.time(), time.monotonic() - before, random.random()))

    state = random.getstate()
    real = time.time()
    report = await explore(object, {"A": request})
    assert report.verdict == "exhausted"
    assert len(seen) == 1
    assert random.getstate() == state
    assert time.time() - real < 20


async def test_a_replay_gives_the_same_run_every_time():
    report = await explore(racy, BOTH, invariant=n_is_two)
    schedule = report.counterexample.schedule
    texts = {replay(racy, BOTH, schedule=schedule, invariant=n_is_two).timeline().text() for _ in range(10)}
    assert texts == {report.counterexample.timeline().text()}


@pytest.mark.prove
async def test_a_hundred_replays_are_the_same():
    report = await explore(racy, BOTH, invariant=n_is_two)
    schedule = report.counterexample.schedule
    texts = {replay(racy, BOTH, schedule=schedule, invariant=n_is_two).timeline().text() for _ in range(100)}
    assert len(texts) == 1


async def test_five_searches_are_identical():
    reports = [await explore(racy, BOTH, invariant=n_is_two) for _ in range(5)]
    assert len({report.text() for report in reports}) == 1
    assert len({report.html() for report in reports}) == 1


async def test_reports_hold_no_address_and_no_path():
    report = await explore(racy, BOTH, invariant=n_is_two)
    for output in (report.text(), report.html()):
        assert " at 0x" not in output
        assert __file__ not in output


async def test_the_counterexample_is_as_short_as_it_gets():
    report = await explore(racy, BOTH, invariant=n_is_two)
    assert report.counterexample.schedule == "A B2 A"
    assert report.counterexample.preemptions == 1
    assert report.counterexample.switches == 2


async def test_the_serializable_rule_needs_no_invariant():
    report = await explore(racy, BOTH, oracle="serializable", observe=lambda app: {"n": app.state.n})
    assert report.counterexample.failure.kind == "not serializable"


async def test_a_write_of_the_same_value_shows():
    report = await explore(racy, BOTH, invariant=n_is_two, observe=lambda app: {"n": app.state.n})
    assert report.counterexample.timeline().text().count("writes n = 1") == 2
    assert "writes n = 1 (same)" in report.counterexample.timeline().svg()


def test_a_script_needs_no_loop():
    assert explore_sync(racy, BOTH, invariant=n_is_two).verdict == "counterexample"


async def test_an_invariant_may_name_requests_although_they_are_identical():
    """Symmetry must not hide a failure that shows under the other name only."""

    async def request(subject):
        await asyncio.sleep(0)
        subject.order.append(1)
        return len(subject.order)

    def make():
        return SimpleNamespace(order=[])

    for name in "AB":
        report = await explore(make, {"A": request, "B": request}, invariant=lambda s, r, n=name: r[n] == 1)
        assert report.verdict == "counterexample"
        found = replay(
            make, {"A": request, "B": request}, schedule=report.counterexample.schedule,
            invariant=lambda s, r, n=name: r[n] == 1,
        )  # fmt: skip
        assert found.recorded.failure is not None


def account_app(lock_for):
    app = FastAPI()
    app.state.balance = {"x": 100, "y": 100}
    locks = {}

    @app.post("/withdraw/{account}")
    async def withdraw(account: str):
        async with locks.setdefault(lock_for(account), asyncio.Lock()):
            balance = app.state.balance[account]
            await asyncio.sleep(0)
            app.state.balance[account] = balance - 60

    return app


def test_a_lock_over_everything_is_told_from_a_lock_for_each_account():
    independent = {"A": post("/withdraw/x"), "B": post("/withdraw/y")}
    fine = can_overlap(lambda: account_app(lambda account: account), independent)
    coarse = can_overlap(lambda: account_app(lambda account: "all"), independent)
    assert fine
    assert not coarse
    assert "B waits at «withdraw: async with locks.setdefault(" in coarse.text()


@pytest.mark.parametrize("text", ["A2 B3 A", "A.a B2 cancel(A) clock2 clock+30 app.b", "A"])
def test_a_schedule_reads_back(text):
    assert render(parse(text)) == text


@pytest.mark.parametrize("text", ["A-B", "2A", "cancel()", "A0"])
def test_a_schedule_that_makes_no_sense_is_refused(text):
    with pytest.raises(BadSchedule, match="cannot read"):
        parse(text)


def test_a_schedule_that_cannot_be_followed_is_refused():
    with pytest.raises(Diverged, match="step 3 of the schedule is 'C'"):
        replay(racy, BOTH, schedule="A2 C")


@pytest.mark.parametrize("name", ["clock", "A1", "", "a-b"])
async def test_a_name_that_a_schedule_cannot_spell_is_refused(name):
    with pytest.raises(ValueError, match="cannot be used in a schedule"):
        await explore(racy, {name: get("/")})


async def test_a_request_that_is_cancelled_must_exist():
    with pytest.raises(ValueError, match="'C'"):
        await explore(racy, BOTH, cancel=["C"])


async def test_random_schedules_find_what_the_budget_leaves_out():
    """PCT: 3 requests of 12 awaits have far more schedules than 400, and the bug needs three switches."""

    async def request(s):
        for _ in range(12):
            await asyncio.sleep(0)
        value = s.n
        await asyncio.sleep(0)
        s.n = value + 1

    make = lambda: SimpleNamespace(n=0)  # noqa: E731
    three = {name: (lambda s: request(s)) for name in "ABC"}
    report = await explore(make, three, invariant=lambda s, _: s.n == 3, max_schedules=10)
    assert report.verdict == "counterexample"
    assert "found by a random schedule" in report.text()
    again = await explore(make, three, invariant=lambda s, _: s.n == 3, max_schedules=10)
    assert again.text() == report.text()
