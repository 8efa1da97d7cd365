"""Which schedule is run next: depth first, fewest preemptions first.

A *preemption* is a switch away from a request that could have gone on. Races need few of them, so schedules
are tried in the order of their preemptions: all with none, then all with one, and so on. The first
counterexample then has as few preemptions as any. Source: iterative context bounding (Musuvathi & Qadeer,
PLDI 2007).

The frontier holds prefixes. A run follows its prefix and then goes on without preemptions; every place where
it could have gone another way becomes a new prefix, filed under what it costs. A prefix that costs more than
the present bound is kept, not dropped, so each schedule is run exactly once over all bounds, and what is left
beyond the last bound is known: that is the difference between `exhausted` and `bounded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deskbook.races._errors import Diverged
from deskbook.races._schedule import CLOCK, Step
from deskbook.races._search.chooser import Run

#: One place where a run could have gone another way: (step number, options, actor before, cost before).
Branch = tuple[int, Sequence[Step], Step | None, int]

#: A request that takes this many steps in a row through places it has just been to is spinning, and others
#: go first.
SPIN_LIMIT = 10


def cost_of(step: Step, options: Sequence[Step], last: Step | None) -> int:
    """Return what a step adds to the cost of a schedule: 1 for a preemption, a cancel or an early tick."""
    if step.is_environment:
        if step is CLOCK:
            return int(any(not option.is_environment for option in options))
        return 1
    return int(step is not last and last in options)


class Prefix(NamedTuple):
    """The beginning of a schedule that is still to be run.

    Attributes:
        steps: What to follow.
        options: What could run at the last of these steps; it must be the same again.
    """

    steps: tuple[Step, ...]
    options: Sequence[Step]


class Redundant(Exception):
    """Another run of the search is equivalent to this one."""


class Follow:
    """Follows a prefix, then goes on without preemptions; records what could have been chosen instead.

    An actor that spins is left for another one. Such a cut is remembered in `was_cut`: the schedules in which
    it spins longer are not tried (fair scheduling, as in CHESS section 4).

    Args:
        prefix: The steps to follow.
        prunes: Raise `Redundant` where another run of the search stands for this one.
        reduce: Forget choices that turn out to commute with all others.
        expected: What could run at the last step of the prefix, if known.

    Attributes:
        steps: The steps that were taken.
        branches: Where the run could have gone another way.
        cost: Preemptions, cancellations and early ticks of the clock so far.
        was_cut: Whether an actor was left because it was spinning.
        by_hand: Whether a person wrote the steps, so that they may be mistyped.
    """

    __slots__ = (
        "_expected",
        "_last",
        "_places",
        "_prefix",
        "_prunes",
        "_reduces",
        "_stretch",
        "branches",
        "by_hand",
        "cost",
        "steps",
        "was_cut",
    )

    def __init__(
        self,
        prefix: Sequence[Step] = (),
        *,
        prunes: bool = False,
        reduce: bool = True,
        expected: Sequence[Step] = (),
    ) -> None:
        self.by_hand = False
        self._prefix = prefix
        self._reduces = reduce
        self._expected = expected
        self._prunes = prunes
        self._last: Step | None = None
        self._stretch = 0
        self._places: list[object] = []
        self.steps: list[Step] = []
        self.branches: list[Branch] = []
        self.cost = 0
        self.was_cut = False

    def choose(self, options: Sequence[Step], run: Run) -> Step:
        """Return the next step; see `chooser.Chooser`."""
        steps, last, followed = self.steps, self._last, len(self._prefix)
        index = len(steps)
        if index < followed:
            step = self._prefix[index]
            as_before = index + 1 < followed or not self._expected or self._same(options)
            if step not in options or not as_before:
                raise Diverged(
                    _why_mistyped(step, index, options, run)
                    if self.by_hand
                    else f"step {index + 1} of the schedule is {step.text!r}, "
                    f"but only {', '.join(option.text for option in options)} can run: "
                    f"the code did something else than before (real I/O, random numbers, the time, a global?)"
                )
        elif last is not None and last in options:
            step = last
        else:
            step = _same_request(last, options)
        if len(options) > 1:
            forced = False
            if self._stretch >= SPIN_LIMIT and step is last and index >= followed and self._spins(step, run):
                others = [option for option in options if option is not step and not option.is_environment]
                others = others or [option for option in options if option.is_clock]
                if others:
                    # Going on spinning is not filed as another way to go: that is the cut.
                    options = [option for option in options if option is not step]
                    step, forced = others[0], True
                    self.was_cut = True
            self.branches.append((index, options, last, self.cost))
            if not forced:
                # `cost_of` says the same; it is written out here because every step comes by.
                if step.is_environment:
                    self.cost += cost_of(step, options, last)
                elif step is not last and last in options:
                    self.cost += 1
        self._stretch = self._stretch + 1 if step is last else 1
        steps.append(step)
        if not step.is_environment:
            self._last = step
        return step

    def _same(self, options: Sequence[Step]) -> bool:
        return set(self._expected) == set(options)

    def step_was_invisible(self) -> None:
        """Forget the choice of the last step: it ran framework code only and commutes with all others.

        The other requests could have gone first here, but a schedule in which they do is equivalent to one in
        which they go right after. (Source: ample sets of one invisible transition; Peled, "All from One, One
        for All", CAV 1993.) A cancellation or the clock is still tried in its place. If the step was itself
        tried in place of another, then that other run stands for this one.
        """
        index = len(self.steps) - 1
        if self._prunes and index == len(self._prefix) - 1:
            raise Redundant
        if not self._reduces or not self.branches or self.branches[-1][0] != index:
            return
        _, options, last, cost = self.branches.pop()
        self.cost = cost
        self._last = last
        taken = self.steps[-1]
        kept = [option for option in options if option is taken or option.is_environment]
        if len(kept) > 1:
            self.branches.append((index, kept, last, cost))

    def _spins(self, step: Step, run: Run) -> bool:
        if self._stretch == SPIN_LIMIT:
            self._places = []
        place = run.place_of(step)
        self._places.append(place)
        return self._places.count(place) > SPIN_LIMIT


def _why_mistyped(step: Step, index: int, options: Sequence[Step], run: Run) -> str:
    """Return why a step that a person wrote cannot be taken."""
    can_run = ", ".join(option.text for option in options)
    head = f"step {index + 1} of the schedule is {step.text!r}, but "
    task = run.roots.get(step.request)
    if task is None and not step.is_environment:
        return f"{head}there is no such request: the requests are {', '.join(run.roots)}"
    if task is not None and task.done() and not step.is_child:
        return f"{head}{step.request} has ended by then: only {can_run} can run; is the schedule too long?"
    if step.is_clock:
        return f"{head}no timer is pending there: only {can_run} can run"
    return (
        f"{head}it cannot run there: it waits for another one or for the clock. Only {can_run} can run. "
        f"Is the schedule mistyped, or has the code changed since?"
    )


def _same_request(last: Step | None, options: Sequence[Step]) -> Step:
    """Return the option to go on with when the last actor cannot: best another task of its request."""
    if last is not None and len(options) > 1:
        for option in options:
            if option.request == last.request and not option.is_environment:
                return option
    return options[0]


class Lenient(Follow):
    """Follows a wish as far as it goes: steps that cannot run are skipped."""

    __slots__ = ("_at", "_wish")

    def __init__(self, wish: Sequence[Step]) -> None:
        super().__init__()
        self._wish = list(wish)
        self._at = 0

    def choose(self, options: Sequence[Step], run: Run) -> Step:
        """Return the next wished step that can run."""
        for index in range(self._at, len(self._wish)):
            if self._wish[index] in options:
                self._at = index + 1
                self._prefix = [*self.steps, self._wish[index]]
                break
        else:
            self._at = len(self._wish)
        return super().choose(options, run)


class Frontier:
    """The prefixes that are still to be run, by cost.

    Args:
        bound: The highest cost to run, or None for all.
    """

    def __init__(self, bound: int | None) -> None:
        self.bound = bound
        self.cost = 0
        self._stacks: dict[int, list[Prefix]] = {0: [Prefix((), ())]}

    def pop(self) -> Prefix | None:
        """Return the next prefix, or None when nothing is left up to the bound."""
        while self._stacks:
            stack = self._stacks.get(self.cost)
            if stack:
                return stack.pop()
            self._stacks.pop(self.cost, None)
            if not self._stacks:
                return None
            cheapest = min(self._stacks)
            if self.bound is not None and cheapest > self.bound:
                return None
            self.cost = cheapest
        return None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left, at any cost."""
        return not any(self._stacks.values())

    def expand(self, run: Follow, prefix_length: int) -> None:
        """File every way that `run` could have gone after its prefix and did not."""
        steps = run.steps
        for index, options, last, cost in reversed(run.branches):
            if index < prefix_length:
                break
            taken = steps[index]
            base = tuple(steps[:index])
            for option in options:
                if option is not taken:
                    total = cost + cost_of(option, options, last)
                    stack = self._stacks.get(total)
                    if stack is None:
                        stack = self._stacks[total] = []
                    stack.append(Prefix((*base, option), options))
