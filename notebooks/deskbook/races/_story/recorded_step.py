"""What one step of a run did: its lines, what they read and wrote, the state after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deskbook.races._schedule import Step

#: Lines of one step that are shown; a longer step keeps its first and its last ones.
MAX_LINES = 8


@dataclass
class RecordedStep:
    """One step of a run.

    Attributes:
        number: 1, 2, ...
        step: Who ran, or what happened to the requests.
        lines: (module, function, source text) of the lines that ran; a statement or command at a gate has
            neither module nor function.
        accesses: ("reads" or "writes", name, value afterwards) in the order of the lines.
        state: The observed state after the step.
        changed: Names whose value is another one than before.
        ended: What the request ended with, or "" while it goes on.
    """

    number: int
    step: Step
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    accesses: list[tuple[str, str, str]] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    changed: Sequence[str] = ()
    ended: str = ""

    def shown_lines(self) -> list[str]:
        """Return the source lines, shortened in the middle."""
        texts = [text for _, _, text in self.lines]
        if len(texts) > MAX_LINES:
            half = MAX_LINES // 2
            texts = [*texts[:half], f"... {len(texts) - 2 * half + 1} more lines", *texts[1 - half :]]
        if self.step.is_cancellation:
            return ["the task is cancelled here", *texts]
        if self.step.jumps_s is not None:
            return [f"the clock jumps {self.step.jumps_s:g} s", *texts]
        if self.step.is_clock:
            return ["the clock moves on", *texts]
        return texts
