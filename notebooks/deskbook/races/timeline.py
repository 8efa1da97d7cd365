"""The story of one run: which request ran which lines, what they read and wrote, and how it ended.

`recorder` makes it, by replaying a schedule with a tracer. From it come the text timeline (terminal, pytest)
and the swimlane picture (`picture`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .outcome import Failure, describe
from .schedule import CLOCK, is_environment, request_of

#: Lines of one step that are shown; a longer step keeps its first and its last ones.
MAX_LINES = 8


@dataclass
class Step:
    """One step of a run.

    Attributes:
        number: 1, 2, ...
        actor: who ran: "A", "A.a", "clock", "cancel(A)".
        lines: (module, function, source text) of the lines that ran.
        accesses: ("reads" or "writes", name, value afterwards) in the order of the lines.
        state: the observed state after the step.
        changed: names whose value is another one than before.
        ended: what the request ended with, or "" while it goes on.
    """

    number: int
    actor: str
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    accesses: list[tuple[str, str, str]] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    ended: str = ""

    @property
    def request(self) -> str:
        """The request that the step belongs to."""
        return request_of(self.actor)

    def shown_lines(self) -> list[str]:
        """Return the source lines, shortened in the middle."""
        texts = [text for _, _, text in self.lines]
        if len(texts) > MAX_LINES:
            half = MAX_LINES // 2
            texts = [*texts[:half], f"... {len(texts) - 2 * half + 1} more lines", *texts[1 - half :]]
        if self.actor.startswith("cancel("):
            return ["the task is cancelled here", *texts]
        if self.request == CLOCK:
            return [
                "the clock moves on" if self.actor == CLOCK else f"the clock jumps {self.actor[6:]} s",
                *texts,
            ]
        return texts


@dataclass
class Timeline:
    """A run, ready to be drawn.

    Attributes:
        names: the requests, in their order.
        titles: name -> what the request is, such as "POST /withdraw".
        schedule: the steps, as `schedule.parse` reads them.
        steps: what happened.
        failure: why the run is a counterexample, or None.
        blocked: who waits for whom at the end of a deadlock.
    """

    names: Sequence[str]
    titles: Mapping[str, str]
    schedule: str
    steps: list[Step]
    failure: Failure | None
    blocked: Sequence[str] = ()

    def text(self) -> str:
        """Return the run as plain text, one paragraph a step."""
        out = [f"schedule: {self.schedule}"]
        out.extend(f"  {name}: {title}" for name, title in self.titles.items() if title)
        width = max([len(step.actor) for step in self.steps], default=1)
        for step in self.steps:
            head = f"{step.number:>3}. {step.actor:<{width}}  "
            indent = " " * len(head)
            body = step.shown_lines() or ["(framework code)"]
            body.extend(f"    {kind} {name} = {value}" for kind, name, value in step.accesses)
            touched = {name for _, name, _ in step.accesses}
            body.extend(
                f"    {name} is now {step.state[name]}" for name in step.changed if name not in touched
            )
            if step.ended:
                body.append(f"=> {step.ended}")
            out.append(head + body[0])
            out.extend(indent + line for line in body[1:])
        if self.failure is not None:
            out.append(f"{self.failure.kind}: {self.failure.message}")
        out.extend(f"  {line}" for line in self.blocked)
        return "\n".join(out)

    def svg(self) -> str:
        """Return the run as an SVG picture with swimlanes."""
        from .picture import swimlanes

        return swimlanes(self)

    def html(self) -> str:
        """Return the run as HTML: the picture as an image, and the same as text."""
        from .picture import as_html

        return as_html(self)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.html()


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return observed state under dotted names: {"accounts": {"a": 1}} gives {"accounts.a": "1"}."""
    if isinstance(value, Mapping):
        result: dict[str, str] = {}
        for key, item in value.items():
            result.update(flat(item, f"{prefix}.{key}" if prefix else str(key)))
        return result
    return {prefix or "state": describe(value)} if value is not None else {}


def switches(steps: Sequence[str]) -> int:
    """Count the changes from one request to another."""
    actors = [step for step in steps if not is_environment(step)]
    return sum(one != other for one, other in itertools.pairwise(actors))
