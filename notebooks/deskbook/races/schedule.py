"""Schedules as people read and write them: `A2 B3 A` is A, A, B, B, B, A.

A step names who runs next: a request (`A`), a task that a request started (`A.a`, `A.b`), a task of the
application itself (`app.a`), the virtual clock (`clock` moves to the next timer, `clock+30` moves 30 seconds)
or a cancellation (`cancel(A)`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from .errors import BadSchedule

CLOCK = "clock"
APP = "app"
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z_])?")
_TOKEN = re.compile(
    r"(?P<step>cancel\([A-Za-z][A-Za-z0-9_]*\)|clock\+[0-9.]+(?=$|x)|[A-Za-z][A-Za-z0-9_.]*?)(?:x?(?P<count>[1-9][0-9]*))?"
)


def check_names(names: Iterable[str]) -> None:
    """Refuse request names that a schedule could not spell without doubt.

    Raises:
        ValueError: for a name that is reserved, or does not match letters, digits and `_` with no digit at
            its end.
    """
    for name in names:
        if not _NAME.fullmatch(name) or name in {CLOCK, APP, "cancel"}:
            raise ValueError(
                f"request name {name!r} cannot be used in a schedule: use letters (no digit at the end), "
                f"and not 'clock', 'app' or 'cancel'. Example: 'A'."
            )


def cancel_step(name: str) -> str:
    """Return the step that cancels the request `name`."""
    return f"cancel({name})"


def request_of(step: str) -> str:
    """Return the request that a step belongs to: `A` for `A`, `A.b` and `cancel(A)`."""
    if step.startswith("cancel("):
        return step[7:-1]
    return CLOCK if is_environment(step) else step.partition(".")[0]


def is_environment(step: str) -> bool:
    """Tell whether a step is something that happens to the requests: a cancellation or the clock."""
    return step == CLOCK or step.startswith(("cancel(", "clock+"))


def render(steps: Sequence[str]) -> str:
    """Write steps with repeated ones counted: `["A", "A", "B"]` becomes `"A2 B"`."""
    parts = []
    for step, group in itertools.groupby(steps):
        count = len(list(group))
        separator = "x" if step[-1].isdigit() else ""
        parts.append(step if count == 1 else f"{step}{separator}{count}")
    return " ".join(parts)


def parse(text: str) -> list[str]:
    """Read what `render` wrote.

    Raises:
        BadSchedule: with the word that could not be read.
    """
    steps: list[str] = []
    for word in text.split():
        match = _TOKEN.fullmatch(word)
        if match is None or (match["step"][-1].isdigit() and not match["step"].startswith(f"{CLOCK}+")):
            raise BadSchedule(
                f"cannot read {word!r} in the schedule {text!r}: expected A, A2, A.a, clock or cancel(A)"
            )
        steps.extend([match["step"]] * int(match["count"] or 1))
    return steps
