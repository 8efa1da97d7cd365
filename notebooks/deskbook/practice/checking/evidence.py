"""A check shows the learner more than its docstring: what was given, what came back, a picture.

def test_two_withdrawals(answer, evidence):
    \"\"\"No interleaving of two withdrawals overdraws the account.\"\"\"
    evidence.given("a balance of 100 and two withdrawals of 60")
    evidence.proves(explore_sync(answer.make_app, {...}, invariant=check, max_schedules=2_000))
"""

from __future__ import annotations

import re
from typing import Any

from deskbook.practice.checking.protocol import Picture

#: Longest text of one piece of evidence, in characters.
LONGEST_TEXT = 600

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|\b0x[0-9a-fA-F]{6,}\b")


class Evidence:
    """Collects what one check wants to show; the check gets it as the fixture `evidence`."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.pictures: list[Picture] = []

    def given(self, value: Any) -> None:
        """Say what the answer was given."""
        self.facts["given"] = shown(value)

    def got(self, value: Any) -> None:
        """Say what came back."""
        self.facts["got"] = shown(value)

    def expected(self, value: Any) -> None:
        """Say what should have come back."""
        self.facts["expected"] = shown(value)

    def run(self, recorded: Any) -> None:
        """Show one run of the explorer, such as `replay(...)` returns, as a picture."""
        timeline = recorded.timeline()
        self.pictures.append({"html": timeline.html(), "text": timeline.text()})

    def proves(self, report: Any) -> None:
        """Fail the check unless the explorer has tried every interleaving and found nothing.

        Args:
            report: What `deskbook.races.explore_sync` returned.

        Raises:
            AssertionError: An interleaving breaks the rule, and is now a picture of the evidence; or not all
                were tried.
        """
        __tracebackhide__ = True
        found = report.counterexample
        if found is not None:
            self.run(found)
            self.got(f"{found.failure.message} (interleaving {found.schedule})")
            raise AssertionError("There is an interleaving that breaks this.")
        if not report.is_proven:
            raise AssertionError(f"Not every interleaving could be tried: {report.covers}")

    def overlaps(self, overlap: Any) -> None:
        """Fail the check unless independent requests can overlap everywhere.

        Args:
            overlap: What `deskbook.races.can_overlap` returned.

        Raises:
            AssertionError: A request had to wait; the lines at which it did are now part of the evidence.
        """
        __tracebackhide__ = True
        if not overlap:
            self.got(overlap.text())
            raise AssertionError("One of them has to wait for the other, although they share nothing.")


def shown(value: Any) -> str:
    """Return a value as short text, without memory addresses, which differ from run to run."""
    if hasattr(value, "status_code") and hasattr(value, "text"):
        text = f"{value.status_code} {value.text}".strip()
    else:
        text = value if isinstance(value, str) else repr(value)
    text = _ADDRESS.sub("", text)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ... ({len(text):,} characters)"
