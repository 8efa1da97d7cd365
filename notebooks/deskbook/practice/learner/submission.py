"""Hand in an answer: send it to the worker, and judge what comes back."""

from __future__ import annotations

from deskbook.practice.checking.client import Client
from deskbook.practice.checking.protocol import Job
from deskbook.practice.errors import PracticeError
from deskbook.practice.exercise.answers import FIRST_LINE, is_unchanged
from deskbook.practice.exercise.definition import Exercise
from deskbook.practice.learner.verdict import Verdict, judge


def submit(
    exercise: Exercise,
    source: str,
    client: Client,
    *,
    first_line: int = FIRST_LINE,
    even_if_unchanged: bool = False,
) -> Verdict:
    """Check one answer.

    Args:
        exercise: What it is an answer to.
        source: The answer, without the line `%%exercise`.
        client: Knows the worker.
        first_line: Number of the answer's first line, for messages.
        even_if_unchanged: Run the stub too, as the gate does.

    Raises:
        PracticeError: The checks themselves are broken; there is no worker to be had; or the exercise needs
            servers, and they cannot be had.
    """
    if is_unchanged(exercise.stub, source) and not even_if_unchanged:
        return Verdict(exercise, "not attempted", failing=exercise.stub_fails, source=source)
    _hold_services(exercise)
    job: Job = {
        "folder": str(exercise.folder),
        "source": source,
        "limit_s": exercise.limit_s,
        "first_line": first_line,
        "fields": dict(exercise.fields),
        "needs": list(exercise.needs),
    }
    return judge(exercise, source, client.check(job), first_line)


def _hold_services(exercise: Exercise) -> None:
    """Keep the servers that the checks need up in this process, which lives longer than they.

    Without it the first check would start them as its own children: at its end they are killed with it, and
    whoever uses them meanwhile loses them.
    """
    if exercise.needs:
        from deskbook.services import ServicesError, ensure

        try:
            ensure(*exercise.needs)
        except ServicesError as error:
            raise PracticeError(str(error)) from None
