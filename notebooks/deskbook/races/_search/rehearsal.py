"""What is run before a search: every request alone, and all of them one after the other.

A search compares interleavings. Before it does, it must know that there is something to compare: that the
requests reach the service, that a run leaves nothing behind for the next one, which values differ from run to
run by themselves, and that the rule holds without any concurrency. Each of these was once the reason of a
false verdict (a proof over answers that were all 404; a proof over a state that the first run had used up; an
alarm about a random id).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import httpx

from deskbook.races._search.oracles import OneAfterTheOther
from deskbook.races._search.variation import Difference, Variation, differences, tree_of
from deskbook.races._story.answers import Answers
from deskbook.races._story.outcome import Failure, describe
from deskbook.races._story.run_result import RunResult
from deskbook.races._subject.scenario import Scenario

#: Seeds of the random numbers, and of the moment at which the clock starts.
USUAL, OTHER = 0, 1

#: Answers with which a framework refuses a request that never reaches the code of the service.
NEVER_REACHED = ("401", "404", "405", "415", "422", "with ")

#: Differences that are named in a sentence.
_MOST_NAMED = 3


class RehearsedRun(NamedTuple):
    """One run to make before the search.

    Attributes:
        chooser: Decides every step.
        note: What to do with its result.
        order: The requests to start, in this order.
        seed: For random numbers and the clock.
        is_watched: Whether awaits that never suspend are looked for.
    """

    chooser: OneAfterTheOther
    note: Callable[[RunResult], None]
    order: Sequence[str]
    seed: int = USUAL
    is_watched: bool = False


class Rehearsal:
    """What is learnt before a search.

    Args:
        scenario: What is run.
        compares: Whether answers are compared with those of sequential orders.

    Attributes:
        answers: What the requests answered.
        variation: Which values differ whatever the order is.
        undecided: Why no search could decide anything, or None.
        notes: What the reader must know, as sentences.
        failure: Why the rule fails without any concurrency, or None.
        failing_order: The order of the requests in which it does.
    """

    def __init__(self, scenario: Scenario, *, compares: bool) -> None:
        self.answers = Answers(titles=scenario.titles)
        self.variation = Variation()
        self.undecided: str | None = None
        self.notes: list[str] = []
        self.failure: Failure | None = None
        self.failing_order: Sequence[str] = ()
        self.unsuspended: set[str] = set()
        self._names = scenario.names
        self._observed = scenario.observe is not None
        self._compares = compares
        self._is_put_back = scenario.reset is not None
        self._first: dict[str, Any] | None = None
        self._refused = dict.fromkeys(scenario.names, "")
        self._run_count = self._escaped_count = 0

    def runs(self, *, has_seeds: bool) -> Iterator[RehearsedRun]:
        """Yield the runs to make; each may be the last one, if it shows that nothing can be decided.

        Args:
            has_seeds: Whether random numbers and the clock are under control, so that others can be given.
        """
        names = self._names
        yield self._run(names, self._begin)
        yield self._run(names, self._again)
        if has_seeds and self._compares and self.undecided is None:
            yield self._run(names, self._with_other_numbers, seed=OTHER)
        if len(names) > 1 and self.undecided is None:
            yield self._run(tuple(reversed(names)), lambda result, steps: None)
        for name in names:
            if self.undecided is None:
                yield self._run((name,), functools.partial(self._alone, name), is_watched=True)

    def closing_run(self) -> RehearsedRun:
        """Return the run to make after a search that found nothing: it must answer as it did before."""
        return self._run(self._names, self._at_the_end)

    def _run(
        self,
        order: Sequence[str],
        learn: Callable[[RunResult, int], None],
        *,
        seed: int = USUAL,
        is_watched: bool = False,
    ) -> RehearsedRun:
        chooser = OneAfterTheOther((), order)

        def note(result: RunResult) -> None:
            if result.cut is not None:
                self.undecided = self.undecided or result.cut
                return
            self._run_count += 1
            if result.escaped:
                self._escaped_count += 1
                return
            self.note_answers(result)
            if len(order) > 1 and seed == USUAL:
                self._note_order(order, result)
            learn(result, len(chooser.steps))

        return RehearsedRun(chooser, note, order, seed, is_watched)

    def _note_order(self, order: Sequence[str], result: RunResult) -> None:
        answers = {name: describe(value) for name, value in result.responses.items()}
        if not any(tuple(known) == tuple(order) for known, _ in self.answers.in_order):
            self.answers.in_order.append((order, answers))

    def note_failure(self, order: Sequence[str], failure: Failure | None) -> None:
        """Note what the rule says of a run in which the requests did not overlap."""
        if failure is not None and self.failure is None and len(order) == len(self._names):
            self.failure, self.failing_order = failure, order

    # What is learnt from repeating a run.

    def _begin(self, result: RunResult, steps: int) -> None:
        self._first = tree_of(result, observed=self._observed)

    def _again(self, result: RunResult, steps: int) -> None:
        found = self._compare(result)
        kept = [difference for difference in found if difference.kind == "kept"]
        ids = [difference for difference in found if difference.kind == "id"]
        if kept or (ids and self._compares):
            self.undecided = (
                f"the same schedule gave another answer the second time: {_named(kept or ids)}. Something "
                f"outlives a run; make it inside of make_app, or put it back with reset="
            )
            return
        self._learn(found)

    def _with_other_numbers(self, result: RunResult, steps: int) -> None:
        found = self._compare(result)
        decisive = [
            difference
            for difference in found
            if difference.kind == "kept"
            and (difference.place[1:2] == ("status",) or difference.first.startswith("["))
        ]
        if decisive:
            self.undecided = (
                f"random numbers or the time decide what is answered: {_named(decisive)}; compare by an "
                f"invariant= of your own"
            )
            return
        self._learn(
            [
                difference._replace(kind="time" if difference.kind == "time" else "random")
                for difference in found
            ]
        )

    def _at_the_end(self, result: RunResult, steps: int) -> None:
        found = [difference for difference in self._compare(result) if difference.kind == "kept"]
        if found:
            self.undecided = (
                f"after the search the same schedule gave another answer than before it: {_named(found)}. "
                f"Something outlives a run; make it inside of make_app, or put it back with reset="
            )

    def _compare(self, result: RunResult) -> list[Difference]:
        if self._first is None:
            return []
        found = differences(self._first, tree_of(result, observed=self._observed))
        return [
            difference
            for difference in found
            if difference.place not in self.variation.places and self._matters(difference)
        ]

    def _matters(self, difference: Difference) -> bool:
        """Tell whether a difference can make a verdict false."""
        if self._compares:
            return True
        if difference.place[0] == "state":
            return self._observed  # what nobody asked for (a counter of a metric) is not judged either
        # Who puts an application back and has a rule of their own is trusted, but not with an answer of
        # another kind.
        return not self._is_put_back or difference.place[1:2] == ("status",)

    def _learn(self, found: Sequence[Difference]) -> None:
        for difference in found:
            self.variation.places[difference.place] = difference.kind

    def _alone(self, name: str, result: RunResult, steps: int) -> None:
        answered = name in result.responses
        self.answers.alone[name] = describe(result.responses[name]) if answered else "never answered"
        self.answers.steps[name] = steps

    # Whether anything ran.

    def note_answers(self, result: RunResult) -> None:
        """Note which requests were accepted at least once."""
        for name in list(self._refused):
            value = result.responses.get(name)
            if name in result.responses:
                reason = _refusal(value, counts_errors=self._compares)
                if reason is None:
                    del self._refused[name]
                else:
                    self._refused[name] = reason

    @property
    def escaped(self) -> bool:
        """Whether something was refused or ran without control in every run."""
        return self._run_count > 0 and self._escaped_count == self._run_count

    @property
    def everybody_accepted(self) -> bool:
        """Whether every request was accepted at least once, so that `note_answers` need not be asked."""
        return not self._refused

    @property
    def nothing_ran(self) -> str | None:
        """Why the search says nothing, although every interleaving was tried, or None."""
        refused = {name: reason for name, reason in self._refused.items() if reason}
        if not refused:
            return None
        listed = "; ".join(f"{name} was answered {reason}" for name, reason in refused.items())
        if len(refused) == len(self._names):
            return f"no request was accepted in any run: {listed}. Nothing was explored"
        strayed = all(reason.startswith(NEVER_REACHED) for reason in refused.values())
        if self._compares and strayed and len(self._names) - len(refused) < 2:
            return f"there was nothing to race with: {listed} in every run, alone too"
        return None

    @property
    def refused_note(self) -> str | None:
        """What to say of requests that were refused in every run, or None."""
        refused = {name: reason for name, reason in self._refused.items() if reason}
        if not refused:
            return None
        return "; ".join(f"{name} was answered {reason} in every run" for name, reason in refused.items())

    @property
    def variation_note(self) -> str | None:
        """What to say of values that differ from run to run, or None."""
        places = sorted(
            {".".join(place[1:]) or place[0] for place, kind in self.variation.places.items() if place}
        )
        if not places or not self._compares:
            return None
        return (
            f"{', '.join(places)}: another value in every run (a random number, a time, a sequence), so only "
            f"whether such values are equal was compared"
        )


def _refusal(value: Any, *, counts_errors: bool) -> str | None:
    """Return how a request was refused, or None if it was not.

    Args:
        value: What it was answered.
        counts_errors: Whether a function that raised was refused; a rule of the caller's own may expect that.
    """
    if isinstance(value, Exception) and counts_errors:
        return f"with {type(value).__name__}: {value}"
    if isinstance(value, list):
        found = (_refusal(one, counts_errors=counts_errors) for one in value)
        return next(filter(None, found), None)
    if isinstance(value, httpx.Response):
        failed = value.extensions.get("exception")
        if failed is not None:
            return f"{value.status_code} ({type(failed).__name__}: {failed})"
        if value.status_code >= 400:
            return f"{value.status_code} {value.reason_phrase}".strip()
        return None
    return None


def _named(found: Sequence[Difference]) -> str:
    named = ", ".join(str(difference) for difference in found[:_MOST_NAMED])
    return named + (f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else "")
