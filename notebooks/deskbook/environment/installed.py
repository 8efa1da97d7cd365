"""Compare what is installed in the running Python with the lock.

It needs the package `packaging` (for environment markers), which every environment made from the lock has.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from pathlib import Path
from urllib.parse import unquote, urlparse

from deskbook.environment.lockfile import Pin, read_pins


@dataclasses.dataclass(frozen=True)
class Difference:
    """A package whose installed version is not the locked one (None: not installed)."""

    name: str
    locked: str
    installed: str | None

    def __str__(self) -> str:
        """Return the sentence that `deskbook doctor` shows."""
        found = f"is {self.installed}" if self.installed else "is not installed"
        return f"{self.name} {found}, the lock says {self.locked}"


def differences(lock: Path) -> list[Difference]:
    """Return every package of the lock that applies here and is missing or of another version."""
    from packaging.markers import Marker

    pins = [pin for pin in read_pins(lock) if pin.marker is None or Marker(pin.marker).evaluate()]
    return [difference for pin in pins if (difference := _compare(pin)) is not None]


def _compare(pin: Pin) -> Difference | None:
    try:
        installed = importlib.metadata.version(pin.name)
    except importlib.metadata.PackageNotFoundError:
        return Difference(pin.name, pin.version, None)
    return None if installed == pin.version else Difference(pin.name, pin.version, installed)


def is_installed_from(checkout: Path) -> bool:
    """Say whether the project is installed here, editable, from this very checkout."""
    try:
        record = importlib.metadata.distribution("fastapi-deskbook").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return False
    url = urlparse(json.loads(record or "{}").get("url", ""))
    return url.scheme == "file" and Path(unquote(url.path)).resolve() == checkout.resolve()
