"""Wrong fixes are rejected, right ones accepted; each truth was written down before it was explored."""

import pytest
from deskbook.races import explore
from race_cases.corpus import postgresql, redis_commands
from race_cases.corpus.cases import RIGHT, WRONG
from race_cases.corpus.in_memory import IN_MEMORY


def by_name(cases, truth):
    return [pytest.param(case, id=case.name) for case in cases if case.truth == truth]


@pytest.mark.parametrize("case", by_name(IN_MEMORY, WRONG))
async def test_wrong_fix_is_rejected(case):
    report = await explore(case.make, case.requests, invariant=case.check, **case.options)
    assert report.verdict == "counterexample", f"{case.reason}\n{report}"


@pytest.mark.parametrize("case", by_name(IN_MEMORY, RIGHT))
async def test_right_fix_is_proven(case):
    # Far more than it takes: how long it takes is measured in bench_races.py, not here.
    report = await explore(case.make, case.requests, invariant=case.check, max_seconds=60, **case.options)
    assert report.verdict == "exhausted", f"{case.reason}\n{report}"


def test_the_corpus_is_large_enough():
    cases = [*IN_MEMORY, *postgresql.CASES, *redis_commands.CASES]
    assert sum(case.truth == WRONG for case in cases) >= 40
    assert sum(case.truth == RIGHT for case in cases) >= 20
    assert len({case.name for case in cases}) == len(cases)


@pytest.mark.prove
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in IN_MEMORY])
async def test_the_reduction_changes_no_verdict_and_no_outcome(case):
    found = []
    for reduce in (True, False):
        report = await explore(
            case.make,
            case.requests,
            invariant=case.check,
            reduce=reduce,
            stop_at_first=False,
            collect_outcomes=True,
            preemption_bound=2,
            max_seconds=120,
            **case.options,
        )
        found.append((report.verdict, report.outcomes))
    assert found[0] == found[1]
