"""Read `requirements.lock`: the exact version and hashes of every package, without addresses.

The format is pip's requirements file as `uv pip compile --universal --generate-hashes` writes it.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?:\s*;\s*(?P<marker>.+))?$")


class LockfileError(ValueError):
    """A line of the lock is not a pinned requirement."""


@dataclasses.dataclass(frozen=True)
class Pin:
    """One locked package.

    Attributes:
        name: Name as the index spells it, lower case.
        version: Exact version.
        marker: Environment marker (PEP 508), or None where it holds everywhere.
        hashes: The `sha256:...` of every file of this version.
    """

    name: str
    version: str
    marker: str | None
    hashes: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """The pin as one requirement line, without hashes."""
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")

    @property
    def hashed_requirement(self) -> str:
        """The pin as one requirement line that pip and uv verify."""
        return " ".join([self.requirement, *(f"--hash={value}" for value in self.hashes)])


def read_pins(path: Path) -> list[Pin]:
    """Return the pins of a lock file, in its order.

    Raises:
        LockfileError: A line is not `name==version [; marker] --hash=...`.
    """
    logical_lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [_parse(line) for line in logical_lines if line.strip() and not line.startswith("#")]


def _parse(line: str) -> Pin:
    requirement, *hashes = re.split(r"\s+--hash=", line.strip())
    match = _PIN.match(requirement.strip())
    if match is None or not hashes:
        raise LockfileError(
            f"requirements.lock: expected `name==version --hash=...`, found {line.strip()[:80]!r}. "
            "Write the lock again as CONTRIBUTING.md says."
        )
    return Pin(match["name"], match["version"], match["marker"], tuple(value.strip() for value in hashes))
