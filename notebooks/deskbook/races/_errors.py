"""What can end a run of the explorer, apart from a result."""

from __future__ import annotations


class RaceError(Exception):
    """Base of the explorer's own exceptions."""


class UnsupportedPython(RaceError):
    """The running Python cannot be explored."""


class Deadlock(RaceError):
    """Every unfinished request waits for another one; nothing can run and no timer is pending."""


class Livelock(RaceError):
    """The requests keep running, in a fair order, and none of them ever finishes."""


class NotStarted(RaceError):
    """What is around the requests failed: making the application, starting it, resetting or observing it."""


class CutShort(RaceError):
    """A run was ended before its end: it says nothing, neither that it is right nor that it is wrong."""


class Diverged(RaceError):
    """A schedule could not be followed: something that the explorer does not control changed the run."""


class UngatedIO(RaceError):
    """The code under test opened a socket, a pipe or a process inside the explored region."""


class BadSchedule(RaceError, ValueError):
    """A schedule that was written by hand cannot be read."""
