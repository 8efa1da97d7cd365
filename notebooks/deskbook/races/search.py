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
from typing import Any, NamedTuple

from .errors import Diverged
from .schedule import is_environment

#: One place where a run could have gone another way: (step number, options, actor before, cost before).
Branch = tuple[int, Sequence[str], str | None, int]

#: A request that takes this many steps in a row through places it has just been to is spinning; others go
#: first.
SPIN_LIMIT = 10


def cost_of(step: str, options: Sequence[str], last: str | None) -> int:
    """Return what a step adds to the cost of a schedule: 1 for a preemption, a cancel or an early tick."""
    if step[0] == "c" and is_environment(step):
        if step == "clock":
            return int(any(not is_environment(option) for option in options))
        return 1
    return int(step != last and last in options)


class Prefix(NamedTuple):
    """The beginning of a schedule that is still to be run.

    Attributes:
        steps: what to follow.
        options: what could run at the last of these steps; it must be the same again.
    """

    steps: tuple[str, ...]
    options: Sequence[str]


class Redundant(Exception):
    """Another run of the search is equivalent to this one."""


class Follow:
    """Follows a prefix, then goes on without preemptions; records what could have been chosen instead.

    Args:
        prefix: the steps to follow.
        prunes: raise `Redundant` where another run of the search stands for this one.
        reduce: forget choices that turn out to commute with all others.
        expected: what could run at the last step of the prefix, if known.

    An actor that spins is left for another one. Such a cut is remembered in `was_cut`: the schedules in which
    it spins longer are not tried (fair scheduling, as in CHESS section 4).
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
        "cost",
        "steps",
        "was_cut",
    )

    def __init__(
        self,
        prefix: Sequence[str] = (),
        *,
        prunes: bool = False,
        reduce: bool = True,
        expected: Sequence[str] = (),
    ) -> None:
        self._prefix = prefix
        self._reduces = reduce
        self._expected = expected
        self._prunes = prunes
        self._last: str | None = None
        self._stretch = 0
        self._places: list[Any] = []
        self.steps: list[str] = []
        self.branches: list[Branch] = []
        self.cost = 0
        self.was_cut = False

    def choose(self, options: Sequence[str], loop: Any) -> str:
        """Return the next step; see `chooser.Chooser`."""
        steps, last, followed = self.steps, self._last, len(self._prefix)
        index = len(steps)
        if index < followed:
            step = self._prefix[index]
            as_before = index + 1 < followed or not self._expected or self._same(options)
            if step not in options or not as_before:
                raise Diverged(
                    f"step {index + 1} of the schedule is {step!r}, but only {', '.join(options)} can run: "
                    f"the code did something else than before (real I/O, random numbers, the time, a global?)"
                )
        elif last in options:
            step = last  # type: ignore[assignment]
        else:
            step = _same_request(last, options)
        if len(options) > 1:
            forced = False
            if self._stretch >= SPIN_LIMIT and step == last and index >= followed and self._spins(step, loop):
                others = [option for option in options if option != step and not is_environment(option)]
                others = others or [option for option in options if option.startswith("clock")]
                if others:
                    # Going on spinning is not filed as another way to go: that is the cut.
                    options = [option for option in options if option != step]
                    step, forced = others[0], True
                    self.was_cut = True
            self.branches.append((index, options, last, self.cost))
            if not forced:
                if step[0] == "c":
                    self.cost += cost_of(step, options, last)
                elif step != last and last in options:
                    self.cost += 1
        self._stretch = self._stretch + 1 if step == last else 1
        steps.append(step)
        if step[0] != "c" or not is_environment(step):
            self._last = step
        return step

    def _same(self, options: Sequence[str]) -> bool:
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
        kept = [option for option in options if option == taken or is_environment(option)]
        if len(kept) > 1:
            self.branches.append((index, kept, last, cost))

    def _spins(self, step: str, loop: Any) -> bool:
        if self._stretch == SPIN_LIMIT:
            self._places = []
        place = loop.place_of(step)
        self._places.append(place)
        return self._places.count(place) > SPIN_LIMIT


def _same_request(last: str | None, options: Sequence[str]) -> str:
    """Return the option to go on with when the last actor cannot: best another task of its request."""
    if last is not None and len(options) > 1:
        request = last.partition(".")[0]
        for option in options:
            if option.partition(".")[0] == request:
                return option
    return options[0]


class Lenient(Follow):
    """Follows a wish as far as it goes: steps that cannot run are skipped."""

    __slots__ = ("_at", "_wish")

    def __init__(self, wish: Sequence[str]) -> None:
        super().__init__()
        self._wish = list(wish)
        self._at = 0

    def choose(self, options: Sequence[str], loop: Any) -> str:
        """Return the next wished step that can run."""
        for index in range(self._at, len(self._wish)):
            if self._wish[index] in options:
                self._at = index + 1
                self._prefix = [*self.steps, self._wish[index]]
                break
        else:
            self._at = len(self._wish)
        return super().choose(options, loop)


class Frontier:
    """The prefixes that are still to be run, by cost.

    Args:
        bound: the highest cost to run, or None for all.
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
                if option != taken:
                    total = cost + cost_of(option, options, last)
                    stack = self._stacks.get(total)
                    if stack is None:
                        stack = self._stacks[total] = []
                    stack.append(Prefix((*base, option), options))
