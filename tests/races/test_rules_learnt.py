"""Each rule that was learnt the hard way, and each mistake of the prototypes, as a test."""

import asyncio
import contextlib
import gc
from types import SimpleNamespace

import anyio
import pytest
from deskbook.races import explore
from race_cases.corpus.racy_app import BOTH, app_with, racy
from starlette.middleware.base import BaseHTTPMiddleware


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


async def test_the_await_that_a_cancellation_ends_is_shown_once():
    async def request(subject):
        subject.n += 1
        await asyncio.sleep(0)
        subject.n -= 1

    rule = lambda subject, _: subject.n == 0  # noqa: E731
    report = await explore(lambda: SimpleNamespace(n=0), {"A": request}, invariant=rule, cancel=["A"])
    # Python 3.13 reports the line a second time, when the exception comes out of it.
    assert report.text().count("await asyncio.sleep(0)") == 1
    assert "(framework code)" in report.text()


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


@pytest.mark.parametrize("rule", [None, lambda s, replies: replies["A"] == replies["B"]])
@pytest.mark.parametrize("reduce", [True, False])
async def test_rule_the_mirror_of_an_outcome_that_breaks_the_rule_is_an_outcome_too(reduce, rule):
    async def claim(subject):
        if subject.claimed:
            return subject.answer
        subject.claimed = True
        await asyncio.sleep(0)
        subject.answer = "receipt"
        return subject.answer

    report = await explore(
        lambda: SimpleNamespace(claimed=False, answer=None),
        {"A": claim, "B": claim},
        invariant=rule,
        stop_at_first=False,
        collect_outcomes=True,
        reduce=reduce,
    )
    assert len(report.outcomes) == 3


async def test_rule_a_result_may_lead_back_to_itself():
    class Account:
        def __init__(self, balance):
            self.balance, self.bank = balance, SimpleNamespace(accounts=[self])

    async def deposit(state):
        seen = state.balance
        await asyncio.sleep(0)
        state.balance = seen + 1
        return Account(state.balance)

    report = await explore(
        lambda: SimpleNamespace(balance=0),
        {"A": deposit, "B": deposit},
        invariant=lambda state, replies: True,
        collect_outcomes=True,
    )
    assert report.verdict == "exhausted"
    assert len(report.outcomes) == 3  # both read 0, or one of them the other's 1
