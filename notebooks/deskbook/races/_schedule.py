"""Schedules: which step is taken after which, and how people read and write that, such as `A2 B3 A`.

A step names who runs next: a request (`A`), a task that a request started (`A.a`, `A.b`), a task of the
application itself (`app.a`), the virtual clock (`clock` moves to the next timer, `clock+30` moves 30 seconds)
or a cancellation (`cancel(A)`). `A2 B3 A` is A, A, B, B, B, A. This module alone knows that grammar.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from deskbook.races._errors import BadSchedule

#: What a step belongs to that is a task of the application itself.
APP = "app"
_CLOCK = "clock"
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z_])?")
_CANCELLATION = re.compile(r"cancel\((?P<request>.*)\)")
_TOKEN = re.compile(
    r"(?P<step>"
    r"cancel\([A-Za-z][A-Za-z0-9_]*\)"
    r"|clock\+[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?(?=$|x)"
    r"|[A-Za-z][A-Za-z0-9_.]*?"
    r")(?:x?(?P<count>[1-9][0-9]*))?"
)


class Step:
    """One choice: who goes on, or what happens to the requests.

    There is one object for each text, which `Step.of` returns. So two steps are the same if they are one
    object, and a search compares millions of them without looking at any text.

    Attributes:
        text: The step as people read and write it: "A", "A.b", "clock", "clock+30", "cancel(A)".
        request: The request that it belongs to, `APP` for a task of the application, "clock" for the clock.
        is_environment: Whether it happens to the requests: the clock moves, or one of them is cancelled.
        is_clock: Whether the clock moves, to its next timer or by some seconds.
        is_cancellation: Whether the task of `request` is cancelled.
        jumps_s: Seconds by which the clock jumps, or None for all other steps.
    """

    __slots__ = ("is_cancellation", "is_clock", "is_environment", "jumps_s", "request", "text")

    _known: dict[str, Step] = {}  # noqa: RUF012 - shared on purpose: one object for each text

    def __init__(self, text: str) -> None:
        cancellation = _CANCELLATION.fullmatch(text)
        self.text = text
        self.is_cancellation = cancellation is not None
        self.is_clock = text == _CLOCK or text.startswith(f"{_CLOCK}+")
        self.is_environment = self.is_clock or self.is_cancellation
        self.jumps_s = float(text.partition("+")[2]) if self.is_clock and text != _CLOCK else None
        if cancellation is not None:
            self.request = cancellation["request"]
        else:
            self.request = _CLOCK if self.is_clock else text.partition(".")[0]

    @classmethod
    def of(cls, text: str) -> Step:
        """Return the step that is written as `text`."""
        step = cls._known.get(text)
        # Two threads may make the same step at the same time; `setdefault` lets only one of the objects stay.
        return cls._known.setdefault(text, cls(text)) if step is None else step

    @classmethod
    def cancellation(cls, request: str) -> Step:
        """Return the step that cancels the task of a request."""
        return cls.of(f"cancel({request})")

    @classmethod
    def jump(cls, seconds: float) -> Step:
        """Return the step that moves the clock by some seconds."""
        return cls.of(f"{_CLOCK}+{seconds:g}")

    @property
    def is_child(self) -> bool:
        """Whether it belongs to a task that a request (or the application) started."""
        return "." in self.text and not self.is_environment

    def renamed(self, names: Mapping[str, str]) -> Step:
        """Return the same step of another request.

        Args:
            names: The old name of a request -> its new one; a request that is not in it keeps its name.
        """
        if self.is_environment:
            return self
        request, dot, child = self.text.partition(".")
        return Step.of(names.get(request, request) + dot + child)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Step.of({self.text!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # A copy must be the same object, else it would be another step.
        return (Step.of, (self.text,))


#: The clock moves to its next timer.
CLOCK = Step.of(_CLOCK)


class Schedule(tuple[Step, ...]):
    """The steps of a run in their order. Its text is what people read and write: `str(schedule)`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Read a schedule.

        Raises:
            BadSchedule: With the word that could not be read.
        """
        steps: list[Step] = []
        for word in text.split():
            match = _TOKEN.fullmatch(word)
            if match is None or (match["step"][-1].isdigit() and not match["step"].startswith(f"{_CLOCK}+")):
                raise BadSchedule(
                    f"cannot read {word!r} in the schedule {text!r}: expected A, A2, A.a, clock or cancel(A)"
                )
            steps.extend([Step.of(match["step"])] * int(match["count"] or 1))
        return cls(steps)

    def __str__(self) -> str:
        parts = []
        for step, group in itertools.groupby(self):
            count = len(list(group))
            separator = "x" if step.text[-1].isdigit() else ""
            parts.append(step.text if count == 1 else f"{step}{separator}{count}")
        return " ".join(parts)

    @property
    def switches(self) -> int:
        """How often it changes from one request or task to another."""
        actors = [step for step in self if not step.is_environment]
        return sum(one is not other for one, other in itertools.pairwise(actors))

    @property
    def cancelled(self) -> tuple[str, ...]:
        """The requests that it cancels, each once."""
        return tuple(dict.fromkeys(step.request for step in self if step.is_cancellation))

    def renamed(self, names: Mapping[str, str]) -> Schedule:
        """Return the schedule with its requests renamed; see `Step.renamed`."""
        return Schedule(step.renamed(names) for step in self)


def stretches(steps: Sequence[Step]) -> list[list[Step]]:
    """Return the steps in groups, each of them one actor that goes on without a switch."""
    return [list(group) for _, group in itertools.groupby(steps)]


def check_schedule(text: str, steps: Schedule, names: Sequence[str]) -> None:
    """Refuse a schedule that names what is none of the requests.

    Args:
        text: As it was written.
        steps: As it was read.
        names: The requests.

    Raises:
        BadSchedule: With the name, and what was probably meant.
    """
    known = {*names, APP, _CLOCK}
    unknown = next((step.request for step in steps if step.request not in known), None)
    if unknown is None:
        return
    meant = ""
    if unknown.upper() in names:
        meant = f"; did you mean {unknown.upper()!r}? Names of requests are written as in `requests`"
    elif all(letter in names for letter in unknown):
        meant = f"; did you mean {' '.join(unknown)!r}? Steps are set apart by spaces"
    raise BadSchedule(
        f"the schedule {text!r} names {unknown!r}, but the requests are {', '.join(names)}{meant}"
    )


def check_names(names: Iterable[str]) -> None:
    """Refuse request names that a schedule could not spell without doubt.

    Raises:
        ValueError: For a name that is reserved, or does not match letters, digits and `_` with no digit at
            its end.
    """
    for name in names:
        if not _NAME.fullmatch(name) or name in {_CLOCK, APP, "cancel"}:
            raise ValueError(
                f"request name {name!r} cannot be used in a schedule: use letters (no digit at the end), "
                f"and not 'clock', 'app' or 'cancel'. Example: 'A'."
            )


def letters(number: int) -> str:
    """Return a, b, ... z, aa, ab, ... for 0, 1, ...: the names of the tasks of one request."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(97 + rest) + text
    return text
