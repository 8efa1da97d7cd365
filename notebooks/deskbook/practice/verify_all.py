"""The gate over many exercises, a few at a time; each has a worker to itself while it is tested."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from .client import Client
from .errors import PracticeError
from .exercise import read
from .verify import problems

#: Exercises at a time: an answer's limit is real time, so more than there are processors would not be honest.
AT_A_TIME = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class Outcome:
    """What became of one exercise.

    Attributes:
        name: The exercise.
        problems: What is wrong with it, each as one sentence -> in how many repetitions it was met.
        seconds: How long all repetitions took, in seconds.
    """

    name: str
    problems: Counter[str]
    seconds: float


def verify_all(folders: Sequence[Path], repeat: int = 1) -> Iterator[Outcome]:
    """Test exercises against their right and wrong answers, and yield each as soon as it is done.

    Args:
        folders: Folders of the exercises.
        repeat: How often to run each.
    """
    clients = [Client() for _ in range(AT_A_TIME)]
    idle: SimpleQueue[Client] = SimpleQueue()
    for client in clients:
        idle.put(client)

    def verify(folder: Path) -> Outcome:
        client, started = idle.get(), time.perf_counter()
        try:
            found = Counter(problem for _ in range(repeat) for problem in problems(folder, client))
        finally:
            idle.put(client)
        return Outcome(folder.name, found, time.perf_counter() - started)

    # Those on servers take longest. Begun last, one of them would run alone at the end.
    ordered = sorted(folders, key=_is_quick)
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        waiting: list[Future[Outcome]] = [pool.submit(verify, folder) for folder in ordered]
        for done in as_completed(waiting):
            yield done.result()
    finally:
        # In this order: after Ctrl-C the threads still wait for checks, and would wait for their end.
        pool.shutdown(wait=False, cancel_futures=True)
        for client in clients:
            client.abandon()
        pool.shutdown()
        for client in clients:
            client.close()


def _is_quick(folder: Path) -> bool:
    try:
        return not read(folder).needs
    except PracticeError:
        return True
