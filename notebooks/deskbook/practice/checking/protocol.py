"""What the processes of a check tell each other: one line of JSON a message.

    kernel  -- Job -->      worker  -- (fork) -->  child
    kernel  <-- Outcome --  worker  <-- News ----  child

The child tells its news as they happen, because an answer can end it at any moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypedDict

#: The name under which a check that runs the answer itself is told, before the first test.
ANSWER = "answer"

#: Made before an answer runs, which may replace functions.
_encode = json.JSONEncoder().encode


class Job(TypedDict):
    """One answer to be checked.

    Attributes:
        folder: Folder of the exercise.
        source: The answer.
        limit_s: Time that it gets, in seconds.
        first_line: Number of its first line, for messages.
        fields: For an answer that is not code: field name -> kind; empty for code.
        needs: Services that the checks use: "postgres".
    """

    folder: str
    source: str
    limit_s: float
    first_line: int
    fields: dict[str, Any]
    needs: list[str]


class Picture(TypedDict):
    """An interleaving, as HTML and as text."""

    html: str
    text: str


class Problem(TypedDict):
    """An exception as plain data.

    Attributes:
        message: What it says, without paths and addresses.
        lines: (number, text) of the learner's lines that it went through.
    """

    message: str
    lines: list[tuple[int, str]]


class Ready(TypedDict):
    """The limits are set: the time of the answer begins."""

    kind: Literal["ready"]


class Running(TypedDict):
    """This begins: `ANSWER`, or a test by its name."""

    kind: Literal["running"]
    what: str


class Passed(TypedDict):
    """A test has passed; one with parameters tells it for each case."""

    kind: Literal["passed"]
    test: str


class Failed(TypedDict):
    """A test has failed.

    Attributes:
        state: "wrong" for what the check has found, "error" for an exception of the answer.
        facts: What was given, what came back, what was expected.
    """

    kind: Literal["failed"]
    test: str
    state: Literal["wrong", "error"]
    problem: Problem
    facts: dict[str, str]
    pictures: list[Picture]


class Refused(TypedDict):
    """The answer itself has failed, before any test."""

    kind: Literal["refused"]
    problem: Problem


class Replaced(TypedDict):
    """The answer has replaced these functions for the whole program."""

    kind: Literal["replaced"]
    names: list[str]


class Broken(TypedDict):
    """The checks are broken, which is no fault of the answer."""

    kind: Literal["broken"]
    reason: str


class Finished(TypedDict):
    """Every test has run, or one has failed."""

    kind: Literal["finished"]


News = Ready | Running | Passed | Failed | Refused | Replaced | Broken | Finished


class Outcome(TypedDict):
    """What became of a job.

    Attributes:
        news: What the child told, in order.
        late: Whether it was stopped because its time was up.
        signal: The signal that ended it, or 0.
        output: The first part of what the answer printed.
        output_bytes: How much it printed.
        stacks: What ran shortly before the end of the time, as `faulthandler` writes it.
    """

    news: list[News]
    late: bool
    signal: int
    output: str
    output_bytes: int
    stacks: str


def line_of(message: Mapping[str, Any]) -> bytes:
    """Return the line that says this."""
    return _encode(message).encode() + b"\n"


class LineReader:
    """Puts the pieces that come out of a pipe or a socket together again.

    Args:
        limit_bytes: What comes beyond is dropped; with None everything is read.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._left_bytes = limit_bytes
        self._unread = b""

    def feed(self, data: bytes) -> list[Any]:
        """Take in a piece, and return the messages that are complete now.

        A line that is no message is left out: an answer can write to any descriptor.
        """
        if self._left_bytes is not None:
            data = data[: self._left_bytes]
            self._left_bytes -= len(data)
        *lines, self._unread = (self._unread + data).split(b"\n")
        messages = []
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                messages.append(message)
        return messages
