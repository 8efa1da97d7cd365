"""Small FastAPI desks: wrong fixes are rejected, right ones proven; the truths were committed unexplored."""

import pytest
from deskbook.races import explore
from race_cases.corpus import postgresql, redis_commands
from race_cases.corpus.cases import RIGHT, WRONG
from race_cases.corpus.in_desks import DESKS
from race_cases.corpus.in_memory import IN_MEMORY

# Threads are stepped line by line, which takes these a second or more each.
SLOW = {
    "coupon_claimed_by_setdefault",
    "coupon_under_a_lock_for_threads",
    "table_published_when_it_is_full",
}


def by_name(truth):
    return [
        pytest.param(case, id=case.name, marks=[pytest.mark.prove] if case.name in SLOW else [])
        for case in DESKS
        if case.truth == truth
    ]


@pytest.mark.parametrize("case", by_name(WRONG))
async def test_wrong_desk_is_rejected(case):
    report = await explore(case.make, case.requests, invariant=case.check, max_seconds=60, **case.options)
    assert report.verdict == "counterexample", f"{case.reason}\n{report}"


@pytest.mark.parametrize("case", by_name(RIGHT))
async def test_right_desk_is_proven(case):
    # Far more than it takes: the slowest needs about five seconds on two busy cores.
    report = await explore(case.make, case.requests, invariant=case.check, max_seconds=60, **case.options)
    assert report.verdict == "exhausted", f"{case.reason}\n{report}"


def test_every_desk_is_another_one():
    names = [case.name for case in [*DESKS, *IN_MEMORY, *postgresql.CASES, *redis_commands.CASES]]
    assert len(set(names)) == len(names)
    reasons = [case.reason for case in DESKS]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.prove
@pytest.mark.parametrize("reduce", [True, False], ids=["reduced", "unreduced"])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in DESKS])
async def test_the_truth_of_a_desk_does_not_depend_on_the_reduction(case, reduce):
    # Bounded, because a middleware alone has more unreduced interleavings than fit into minutes.
    report = await explore(
        case.make,
        case.requests,
        invariant=case.check,
        reduce=reduce,
        preemption_bound=3,
        max_seconds=120,
        **case.options,
    )
    expected = ["counterexample"] if case.truth == WRONG else ["exhausted", "bounded"]
    assert report.verdict in expected, f"{case.reason}\n{report}"
