"""The gate over exercises: a check that accepts a wrong answer teaches it.

Each answer that comes with an exercise is submitted, and must meet what `exercise/cases.py` says of it. Many
exercises are tested a few at a time; each has a worker to itself meanwhile.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from deskbook.practice.checking.client import Client
from deskbook.practice.errors import PracticeError
from deskbook.practice.exercise.cases import Case, cases
from deskbook.practice.exercise.definition import Exercise, read
from deskbook.practice.exercise.form import form_problems
from deskbook.practice.learner.submission import submit
from deskbook.practice.learner.verdict import Verdict

#: Exercises at a time: an answer's limit is real time, so more than there are processors would not be honest.
AT_A_TIME = min(2, os.cpu_count() or 1)


def problems(folder: Path, client: Client) -> list[str]:
    """Return what is wrong with an exercise, each as one sentence; an empty list if it holds."""
    try:
        exercise = read(folder)
    except PracticeError as error:
        return [str(error)]
    found = list(form_problems(exercise))
    for case in cases(exercise):
        found += list(_judged(exercise, case, client))
    return found


def _judged(exercise: Exercise, case: Case, client: Client) -> Iterator[str]:
    """Submit one answer and report what is not as stated."""
    try:
        verdict = submit(exercise, case.source, client, first_line=1, even_if_unchanged=True)
    except PracticeError as error:
        yield f"{case.name}: {error}"
        return
    if case.state == "passed" and verdict.state != "passed":
        yield f"{case.name} should pass, but {_in_words(verdict)}"
    elif case.state == "rejected" and verdict.state == "passed":
        yield f"{case.name} should be rejected by {case.check}, but it passes"
    elif case.state not in ("rejected", verdict.state):
        yield f"{case.name} should be {case.state}, but {_in_words(verdict)}"
    elif case.check != verdict.failing:
        yield f"{case.name} should be rejected by {case.check}, but {_in_words(verdict)}"


def _in_words(verdict: Verdict) -> str:
    if verdict.state == "passed":
        return "it passes"
    place = f" at {verdict.failing}" if verdict.failing else " before the checks"
    return f"it is {verdict.state}{place}: {verdict.message}".rstrip(": ")


@dataclass(frozen=True)
class Verification:
    """What the gate says of one exercise.

    Attributes:
        name: The exercise.
        problems: What is wrong with it, each as one sentence -> in how many repetitions it was met.
        seconds: How long all repetitions took, in seconds.
    """

    name: str
    problems: Counter[str]
    seconds: float


def verify_all(folders: Sequence[Path], repeat: int = 1) -> Iterator[Verification]:
    """Test exercises against their right and wrong answers, and yield each as soon as it is done."""
    clients = [Client() for _ in range(AT_A_TIME)]
    idle: SimpleQueue[Client] = SimpleQueue()
    for client in clients:
        idle.put(client)

    def verify(folder: Path) -> Verification:
        client, started = idle.get(), time.perf_counter()
        try:
            found = Counter(problem for _ in range(repeat) for problem in problems(folder, client))
        finally:
            idle.put(client)
        return Verification(folder.name, found, time.perf_counter() - started)

    # Those on servers take longest. Begun last, one of them would run alone at the end.
    ordered = sorted(folders, key=_is_quick)
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        waiting: list[Future[Verification]] = [pool.submit(verify, folder) for folder in ordered]
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
