"""The one exception of this package."""

from __future__ import annotations


class ServicesError(Exception):
    """A server cannot be had. The text never holds a password.

    Attributes:
        problem: What happened and what was expected.
        remedy: What to do next.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy
