"""The story of one run: which request ran which lines, what they read and wrote, and how it ended.

A recorder makes it, by running a schedule once more and noting what it does. It shows as text (terminal,
pytest) and as swimlanes (`picture`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deskbook.races._story.outcome import Failure, describe
from deskbook.races._story.picture import Swimlanes
from deskbook.races._story.recorded_step import RecordedStep


@dataclass
class Timeline:
    """A run, ready to be shown.

    Attributes:
        names: The requests, in their order.
        titles: Name -> what the request is, such as "POST /withdraw".
        schedule: The steps as text, as `replay` reads them.
        steps: What happened.
        failure: Why the run is a counterexample, or None.
        blocked: Who waits for whom at the end of a deadlock.
        has_threads: Whether sync code was stepped line by line.
    """

    names: Sequence[str]
    titles: Mapping[str, str]
    schedule: str
    steps: Sequence[RecordedStep]
    failure: Failure | None
    blocked: Sequence[str] = ()
    has_threads: bool = False

    def text(self) -> str:
        """Return the run as plain text, one paragraph a step."""
        out = [f"schedule: {self.schedule}"]
        out.extend(f"  {name}: {title}" for name, title in self.titles.items() if title)
        width = max([len(recorded.step.text) for recorded in self.steps], default=1)
        for recorded in self.steps:
            head = f"{recorded.number:>3}. {recorded.step.text:<{width}}  "
            indent = " " * len(head)
            body = recorded.shown_lines() or ["(framework code)"]
            body.extend(f"    {kind} {name} = {value}" for kind, name, value in recorded.accesses)
            touched = {name for _, name, _ in recorded.accesses}
            changed = [name for name in recorded.changed if name not in touched]
            body.extend(f"    {name} is now {recorded.state[name]}" for name in changed)
            if recorded.ended:
                body.append(f"=> {recorded.ended}")
            out.append(head + body[0])
            out.extend(indent + line for line in body[1:])
        if self.failure is not None:
            out.append(f"{self.failure.kind}: {self.failure.message}")
        out.extend(f"  {line}" for line in self.blocked)
        return "\n".join(out)

    def svg(self) -> str:
        """Return the run as an SVG picture with swimlanes."""
        return self._swimlanes().svg()

    def html(self) -> str:
        """Return the run as HTML: the picture as an image, and the same as text."""
        return self._swimlanes().html()

    def _swimlanes(self) -> Swimlanes:
        return Swimlanes(
            names=self.names,
            titles=self.titles,
            schedule=self.schedule,
            steps=self.steps,
            failure=self.failure,
            blocked=self.blocked,
            text=self.text(),
        )

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
