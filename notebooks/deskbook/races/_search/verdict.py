"""From the end of a search to its report: which verdict is true, and what the reader must know."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deskbook.races._schedule import Step
from deskbook.races._search.progress import Progress
from deskbook.races._story.report import Counterexample, Report, Verdict

#: Digits of a number that is written out.
_MOST_DIGITS = 12

#: The level of a search in process.
EVERY_AWAIT = "at every await"


def make_report(progress: Progress, found: Counterexample | None) -> Report:
    """Return the report for a counterexample, or for none."""
    verdict, covers = _verdict(progress, found)
    by_time = progress.budget_ended is not None and progress.options.max_schedules is None
    speed_dependent = by_time or progress.found_by_sampling
    return Report(
        verdict=verdict,
        covers=covers,
        schedules=None if speed_dependent else progress.runs * progress.factor,
        total=progress.runs * progress.factor if verdict == "exhausted" else _closed_form(progress),
        runs=progress.runs,
        counterexample=found,
        answers=progress.rehearsal.answers,
        fails_in_sequence=found is not None and progress.rehearsal.failure is not None,
        notes=[*_notes(progress), *_notes_on(found)],
        outcomes=frozenset(progress.outcomes),
    )


def _verdict(progress: Progress, found: Counterexample | None) -> tuple[Verdict, str]:
    if found is not None:
        return "counterexample", "one interleaving is enough"
    if progress.rehearsal.undecided is not None:
        return "inconclusive", progress.rehearsal.undecided
    if progress.diverged is not None:
        return "inconclusive", "a schedule could not be repeated, so nothing is proven"
    if progress.notes:
        return "inconclusive", "something ran outside the explorer's control, so nothing is proven"
    if progress.cut is not None:
        return "inconclusive", progress.cut
    if progress.budget_ended is not None:
        tried = (
            ""
            if progress.options.max_schedules is None
            else f"{progress.runs * progress.factor:,} schedules were tried, "
        )
        return (
            "inconclusive",
            f"the budget of {progress.budget_ended} ended first; {tried}no counterexample so far",
        )
    if progress.serializable is not None and not progress.serializable.is_complete:
        return "inconclusive", "there are too many sequential orders to compare with"
    if progress.rehearsal.nothing_ran is not None:
        return "inconclusive", progress.rehearsal.nothing_ran
    count = progress.runs * progress.factor
    tried = f"all {count:,} interleavings" if count != 1 else "the only interleaving"
    level = _level(progress)
    if not progress.frontier.is_empty:
        bound = progress.options.preemption_bound
        most = "1 preemption" if bound == 1 else f"{bound} preemptions"
        chosen = "; where several waited for one lock, the server chose" if progress.server_chose else ""
        return "bounded", f"{tried} with at most {most} were tried, {level}{chosen}"
    if progress.bounds:
        return "bounded", f"{tried} {' and '.join(progress.bounds)} were tried, {level}"
    if progress.was_cut:
        return (
            "bounded",
            f"{tried} in which no request spins for long while others wait were tried, {level}",
        )
    if progress.server_chose:
        return (
            "bounded",
            f"{tried} were tried, {level}; where several waited for one lock, the server chose",
        )
    if progress.is_stubbed:
        return "bounded", f"{tried} were tried, {level}, but not where a stub answers at once"
    if progress.was_bounded:
        return (
            "bounded",
            f"{tried} in which what repeats for ever was followed for some rounds were tried, {level}",
        )
    if progress.clients_left:
        return (
            "bounded",
            f"{tried} in which the client of an endless stream leaves only when nothing else can happen "
            f"were tried, {level}",
        )
    if progress.clock_was_held_back:
        return (
            "bounded",
            f"{tried} in which the clock moves only when nothing can run were tried, {level}",
        )
    return "exhausted", f"{tried} {'was' if count == 1 else 'were'} tried, {level}"


def _level(progress: Progress) -> str:
    parts = [f"{progress.level} of {_listed(progress.scenario.names)} in one process"]
    if progress.options.cancel:
        parts.append(f"with {_listed(progress.options.cancel)} cancelled at any step or not at all")
    if progress.options.clock_jumps:
        jumps = ", ".join(f"{jump:g} s" for jump in progress.options.clock_jumps)
        parts.append(f"with the clock jumping ({jumps}) at any step")
    return ", ".join(parts)


def _closed_form(progress: Progress) -> int | None:
    """Return (sum of steps)! / product of (steps of each)!: exact where no request blocks another."""
    steps = progress.first_run
    if not steps or progress.options.cancel or any(step.is_environment for step in steps):
        return None
    counts: dict[Step, int] = {}
    for step in steps:
        if step.is_child:
            return None
        counts[step] = counts.get(step, 0) + 1
    return math.factorial(sum(counts.values())) // math.prod(
        math.factorial(count) for count in counts.values()
    )


def _notes(progress: Progress) -> list[str]:
    notes = []
    if progress.diverged is not None:
        notes.append(f"DIVERGED: {progress.diverged}")
    notes.extend(progress.notes)
    rehearsal = progress.rehearsal
    if rehearsal.refused_note is not None and rehearsal.nothing_ran is None:
        notes.append(rehearsal.refused_note)
    if rehearsal.variation_note is not None:
        notes.append(rehearsal.variation_note)
    notes.extend(rehearsal.notes)
    if progress.scenario.reset is not None:
        notes.append("one app was used for all schedules; `reset` is trusted to put everything back")
    if progress.factor > 1:
        groups = "; ".join(_listed(names) for names in progress.twins)
        notes.append(f"{groups} are identical, so one run stands for {progress.factor} interleavings")
    if progress.found_by_sampling:
        notes.append("found by a random schedule, so it may have more preemptions than needed")
    total = _closed_form(progress)
    if progress.budget_ended is not None and total is not None:
        notes.append(
            "if every run were as long as the first and no request waited for another, "
            f"there would be {_counted(total)} interleavings"
        )
    if progress.stubs_asked and progress.failing is None:
        lines = ", ".join(f"«{place}»" for place in progress.stubs_asked[:3])
        notes.append(
            f"nobody else could run at {lines}: what is awaited there has no await in it. If it stands for a "
            f"call that takes time, wrap it: suspends(stub)"
        )
    if progress.failing is None and progress.level == EVERY_AWAIT:
        notes.append("asyncio itself would run some of these orders only with real I/O in between")
    return notes


def _notes_on(found: Counterexample | None) -> list[str]:
    if found is None or not found.recorded.has_threads:
        return []
    return [
        "sync code was stepped by lines, and before a store such as that of `n += 1`. CPython with a GIL "
        "lets another thread run only at a call, when a function begins, and at the end of the body of a "
        "loop, so look whether the switches of this schedule stand at such places"
    ]


def _counted(number: int) -> str:
    """Return a number that a person can take in: 34,650, or about 3 * 10^24."""
    digits = str(number)
    return f"{number:,}" if len(digits) <= _MOST_DIGITS else f"about {digits[0]} * 10^{len(digits) - 1}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
