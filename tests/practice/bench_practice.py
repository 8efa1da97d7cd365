"""How long a learner waits for a check, and what a worker costs. Run with `make bench`, or as a script.

Every answer that an exercise keeps (stub, solution, other right ones, wrong ones) is checked. What a check
waits on purpose is in its figure; exercises on PostgreSQL are listed apart.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path

import psutil
from deskbook.practice.checking.client import Client
from deskbook.practice.exercise.cases import cases
from deskbook.practice.exercise.definition import Exercise, load, names
from deskbook.practice.learner.submission import submit

ROUNDS = 5
#: The long run is `LOOPS=100 python tests/practice/bench_practice.py`.
LOOPS = int(os.environ.get("LOOPS", "5"))


def seconds_of(client: Client, exercise: Exercise, source: str, state: str | None = None) -> float:
    """Return how long one check took, in seconds; it must end in `state`, unless that is None."""
    started = time.perf_counter()
    verdict = submit(exercise, source, client, even_if_unchanged=True)
    seconds = time.perf_counter() - started
    assert state in (None, verdict.state), (exercise.name, verdict)
    return seconds


def p95(seconds: list[float]) -> float:
    """Return the value that 95 of 100 do not exceed."""
    # quantiles() needs two values, so the largest stands there twice, and the result errs upwards.
    return statistics.quantiles([*seconds, max(seconds)], n=20, method="inclusive")[-1]


def first_check(exercise: Exercise) -> float:
    """Return the time from the start of a worker to the first verdict, in seconds."""
    client, started = Client(), time.perf_counter()
    client.start()
    seconds_of(client, exercise, exercise.solution, "passed")
    seconds = time.perf_counter() - started
    client.close()
    return seconds


class PeakMemory:
    """Notes the most memory that a worker and its children held, in MB; `own` leaves out pages of files."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.all = self.own = 0.0

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            worker = psutil.Process(self._client._worker.pid)  # type: ignore[union-attr]
            try:
                rollups = [rollup(each.pid) for each in (worker, *worker.children(recursive=True))]
            except (psutil.Error, OSError):
                continue  # A process of a check has ended meanwhile.
            self.all = max(self.all, sum(each["Pss"] for each in rollups))
            self.own = max(self.own, sum(each["Pss_Anon"] for each in rollups))


def rollup(pid: int) -> dict[str, float]:
    """Return the proportional memory of a process in MB, by kind: proc_pid_smaps(5)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) / 1024 for name, _, value in (line.partition(":") for line in lines)}


def report(name: str, seconds: list[float], goal: str) -> None:
    """Print the distribution of some waits."""
    print(
        f"{name:44} median {statistics.median(seconds):.2f} s, p95 {p95(seconds):.2f} s "
        f"({min(seconds):.2f} to {max(seconds):.2f}, {len(seconds)} checks)  {goal}",
        flush=True,
    )


def main() -> None:
    """Print every figure."""
    exercises = [load(name) for name in names()]
    in_memory = [each for each in exercises if not each.needs]
    on_servers = [each for each in exercises if each.needs]
    firsts = [first_check(each) for _ in range(ROUNDS) for each in in_memory]
    report("first check of a worker", firsts, "goal 1 s")
    client = Client()
    for title, some, goal in (
        ("check", in_memory, "goal p95 0.5 s, 60 MB"),
        ("check on PostgreSQL or Redis", on_servers, "goal 2 s, 130 MB"),
    ):
        for each in some:
            seconds_of(client, each, each.solution, "passed")
            with PeakMemory(client) as peak:
                waits = [seconds_of(client, each, case.source) for _ in range(ROUNDS) for case in cases(each)]
            report(
                f"{title}: {each.name}", waits, f"{peak.all:.0f} MB, {peak.own:.0f} without files;  {goal}"
            )
    loops = []
    for _ in range(LOOPS):
        loops.append(seconds_of(client, in_memory[0], "while True: pass", "too slow"))
        seconds_of(client, in_memory[0], in_memory[0].solution, "passed")
    report("endless loop, the check after it right", loops, "goal 3 s each")
    client.close()


if __name__ == "__main__":
    main()
