"""How far a search goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What a search may do and for how long; see `explore` for the meaning of each."""

    oracle: str | None = None
    preemption_bound: int | None = None
    max_seconds: float = 10.0
    max_schedules: int | None = None
    cancel: Sequence[str] = ()
    clock: str = "explored"
    clock_jumps: Sequence[float] = ()
    max_steps: int = 2_000
    reduce: bool = True
    seed: int = 0
    stop_at_first: bool = True
    collect_outcomes: bool = False
