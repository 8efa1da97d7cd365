"""From the end of a search to its report: which verdict is true, and what the reader must know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .report import Counterexample, Report, Verdict
from .schedule import is_environment, request_of

if TYPE_CHECKING:
    from .engine import Search

#: The level of a search in process.
EVERY_AWAIT = "at every await"


def make_report(search: Search, found: Counterexample | None) -> Report:
    """Return the report for a counterexample, or for none."""
    verdict, covers = _verdict(search, found)
    by_time = search.budget_ended is not None and search.options.max_schedules is None
    speed_dependent = by_time or search.found_by_sampling
    return Report(
        verdict=verdict,
        covers=covers,
        schedules=None if speed_dependent else search.runs * search.factor,
        total=search.runs * search.factor if verdict == "exhausted" else _closed_form(search),
        runs=search.runs,
        counterexample=found,
        notes=_notes(search),
        outcomes=frozenset(search.outcomes),
    )


def _verdict(search: Search, found: Counterexample | None) -> tuple[Verdict, str]:
    if found is not None:
        return "counterexample", "one interleaving is enough"
    if search.diverged is not None:
        return "inconclusive", "a schedule could not be repeated, so nothing is proven"
    if search.ungated():
        return "inconclusive", "real I/O ran outside the explorer's control, so nothing is proven"
    if search.budget_ended is not None:
        tried = (
            ""
            if search.options.max_schedules is None
            else f"{search.runs * search.factor:,} schedules were tried, "
        )
        return (
            "inconclusive",
            f"the budget of {search.budget_ended} ended first; {tried}no counterexample so far",
        )
    if search.serializable is not None and not search.serializable.is_complete:
        return "inconclusive", "there are too many sequential orders to compare with"
    count = search.runs * search.factor
    tried = f"all {count:,} interleavings" if count != 1 else "the only interleaving"
    level = _level(search)
    if not search.frontier.is_empty:
        bound = search.options.preemption_bound
        most = "1 preemption" if bound == 1 else f"{bound} preemptions"
        chosen = "; where several waited for one lock, the server chose" if search.server_chose() else ""
        return "bounded", f"{tried} with at most {most} were tried, {level}{chosen}"
    if search.was_cut:
        return (
            "bounded",
            f"{tried} in which no request spins for long while others wait were tried, {level}",
        )
    if search.server_chose():
        return (
            "bounded",
            f"{tried} were tried, {level}; where several waited for one lock, the server chose",
        )
    if search.clock_was_held_back():
        return (
            "bounded",
            f"{tried} in which the clock moves only when nothing can run were tried, {level}",
        )
    return "exhausted", f"{tried} {'was' if count == 1 else 'were'} tried, {level}"


def _level(search: Search) -> str:
    parts = [f"{search.level} of {_listed(search.scenario.names)} in one process"]
    if search.options.cancel:
        parts.append(f"with {_listed(search.options.cancel)} cancelled at any step or not at all")
    if search.options.clock_jumps:
        jumps = ", ".join(f"{jump:g} s" for jump in search.options.clock_jumps)
        parts.append(f"with the clock jumping ({jumps}) at any step")
    return ", ".join(parts)


def _closed_form(search: Search) -> int | None:
    """Return (sum of steps)! / product of (steps of each)!: exact where no request blocks another."""
    steps = search.first_run
    if not steps or search.options.cancel or any(is_environment(step) for step in steps):
        return None
    counts: dict[str, int] = {}
    for step in steps:
        if step != request_of(step):
            return None
        counts[step] = counts.get(step, 0) + 1
    return math.factorial(sum(counts.values())) // math.prod(
        math.factorial(count) for count in counts.values()
    )


def _notes(search: Search) -> list[str]:
    notes = []
    if search.diverged is not None:
        notes.append(f"DIVERGED: {search.diverged}")
    notes.extend(search.ungated())
    if search.scenario.reset is not None:
        notes.append("one app was used for all schedules; `reset` is trusted to put everything back")
    if search.factor > 1:
        groups = "; ".join(_listed(names) for names in search.twins)
        notes.append(f"{groups} are identical, so one run stands for {search.factor} interleavings")
    if search.found_by_sampling:
        notes.append("found by a random schedule, so it may have more preemptions than needed")
    total = _closed_form(search)
    if search.budget_ended is not None and total is not None:
        notes.append(
            "if every run were as long as the first and no request waited for another, "
            f"there would be {total:,} interleavings"
        )
    if search.failing is None and search.level == EVERY_AWAIT:
        notes.append("asyncio itself would run some of these orders only with real I/O in between")
    return notes


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
