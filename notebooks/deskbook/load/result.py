"""What a load run measured."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from deskbook.load.errors import LoadError


@dataclass(frozen=True)
class RequestTimes:
    """When one request was due, sent and done, in seconds of `time.monotonic()`.

    All processes of a machine share that clock. `outcome` is the status of the answer, or the kind of error:
    refused, timeout, reset, not HTTP.
    """

    due_s: float
    sent_s: float
    done_s: float
    outcome: int | str

    @property
    def latency_s(self) -> float:
        """Seconds from the moment the request was due to the end of its answer."""
        return self.done_s - self.due_s


class LoadResult:
    """The requests of one workload, in the order in which they ended.

    A latency runs from the moment the request was due. Requests that timed out count with the time they
    waited: leaving out the slowest would flatter every percentile. Refused and reset connections have no
    latency; they are counted in `errors`.

    The repr names counts and no times, so that the output of a notebook cell is the same in every run.

    Attributes:
        name: Method and path.
        timeline: The times of every request.
        statuses: Number of answers by status.
        errors: Number of requests without an answer by kind.
        ended_by: "requests" or "seconds", the limit that ended the run.
        generator_lag_s: How late the generator itself was at worst with an open loop's request. Where this
            is not far below the latencies, the generator is part of what you measured.
    """

    def __init__(
        self, name: str, timeline: Sequence[RequestTimes], ended_by: str, generator_lag_s: float
    ) -> None:
        self.name = name
        self.timeline = tuple(timeline)
        self.ended_by = ended_by
        self.generator_lag_s = generator_lag_s
        outcomes = Counter(times.outcome for times in self.timeline)
        self.statuses = {
            status: outcomes[status] for status in sorted(o for o in outcomes if isinstance(o, int))
        }
        self.errors = {kind: outcomes[kind] for kind in sorted(o for o in outcomes if isinstance(o, str))}

    @property
    def requests(self) -> int:
        """The number of requests, answered or not."""
        return len(self.timeline)

    @property
    def duration_s(self) -> float:
        """Seconds from the first request to the end of the last answer."""
        if not self.timeline:
            return 0.0
        return max(times.done_s for times in self.timeline) - min(times.due_s for times in self.timeline)

    @property
    def rate_per_s(self) -> float:
        """Answers a second."""
        return sum(self.statuses.values()) / self.duration_s if self.timeline else 0.0

    @cached_property
    def latencies_s(self) -> tuple[float, ...]:
        """The latency of every request that was answered or timed out."""
        counted = (
            times for times in self.timeline if isinstance(times.outcome, int) or times.outcome == "timeout"
        )
        return tuple(times.latency_s for times in counted)

    @cached_property
    def _sorted_latencies_s(self) -> list[float]:
        return sorted(self.latencies_s)

    def percentile_s(self, percentile: float) -> float:
        """Return the latency in seconds that `percentile` percent of the requests did not exceed.

        It is one of the latencies (the nearest rank), never a value between two of them: 0 is the shortest,
        100 the longest.

        Raises:
            LoadError: No request has a latency, or `percentile` is not between 0 and 100.
        """
        if not 0 <= percentile <= 100:
            raise LoadError(f"a percentile lies between 0 and 100, not at {percentile}")
        if not self.latencies_s:
            raise LoadError(f"{self.name} has no latency to show: {self!r}.")
        # Counted in whole billionths: 0.999 * 1000 in floats is a little more than 999.
        rank = math.ceil(round(percentile * 1e7) * len(self.latencies_s) / 1e9)
        return self._sorted_latencies_s[max(1, rank) - 1]

    def report(self) -> str:
        """Return the figures for a terminal. Not for a notebook cell: they differ from run to run."""
        if not self.latencies_s:
            return repr(self)
        latencies = "  ".join(f"p{p:g} {self.percentile_s(p) * 1000:.2f}" for p in (50, 90, 99, 99.9, 100))
        return f"{self!r}\n  {self.rate_per_s:.0f} requests/s, latency in ms: {latencies}"

    def __repr__(self) -> str:
        answers = ", ".join(f"{count} answered {status}" for status, count in self.statuses.items())
        failures = ", ".join(f"{count} {kind}" for kind, count in self.errors.items())
        if self.ended_by == "seconds" and not self.errors and len(self.statuses) == 1:
            answers = f"all answered {next(iter(self.statuses))}, ended by the time limit"
        return f"<{self.name}: {answers or 'no answer'}; {failures or 'no errors'}>"
