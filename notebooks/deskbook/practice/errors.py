"""What can go wrong around an exercise, as one sentence for the person who reads it."""

from __future__ import annotations


class PracticeError(Exception):
    """Something about exercises cannot be done; the message says what was expected and what to do next."""
