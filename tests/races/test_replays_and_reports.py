"""A schedule replays for ever, and a report says the same on every machine."""

import asyncio
import random
import time
from types import SimpleNamespace

import pytest
from deskbook.races import explore, explore_sync, replay
from race_cases.corpus.racy_app import BOTH, n_is_two, racy


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


async def test_random_schedules_find_what_the_budget_leaves_out():
    """PCT: 3 requests of 12 awaits have far more schedules than 15, and as many random ones find the bug."""

    async def request(s):
        for _ in range(12):
            await asyncio.sleep(0)
        value = s.n
        await asyncio.sleep(0)
        s.n = value + 1

    make = lambda: SimpleNamespace(n=0)  # noqa: E731
    three = {name: (lambda s: request(s)) for name in "ABC"}
    report = await explore(make, three, invariant=lambda s, _: s.n == 3, max_schedules=15)
    assert report.verdict == "counterexample"
    assert "found by a random schedule" in report.text()
    again = await explore(make, three, invariant=lambda s, _: s.n == 3, max_schedules=15)
    assert again.text() == report.text()
