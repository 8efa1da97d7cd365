"""Copy a pattern into somebody's own project, with a header that says where it came from."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
from pathlib import Path

from deskbook.checkout import NotACheckoutError, root
from deskbook.environment.lockfile import read_pins
from deskbook.patterns.catalogue import Pattern, PatternError

#: What CI runs; the long run proves each.
TESTED_PYTHONS = "3.11 to 3.13"


@dataclasses.dataclass(frozen=True)
class Copied:
    """What was written, and what it needs to run.

    Attributes:
        files: The new files.
        packages: To be installed for the pattern.
        test_packages: To be installed for its test.
        services: Environment variables that its test reads.
    """

    files: tuple[Path, ...]
    packages: tuple[str, ...]
    test_packages: tuple[str, ...]
    services: tuple[str, ...]


def copy_pattern(pattern: Pattern, folder: Path, *, with_test: bool = False, force: bool = False) -> Copied:
    """Write a pattern, and on request its test, into a folder.

    Args:
        pattern: What to copy.
        folder: Where to; made if missing.
        with_test: Copy the travelling test beside it.
        force: Overwrite files that are there.

    Raises:
        PatternError: A file is there already, or the folder cannot be written. Nothing is written then.
    """
    texts = {folder / pattern.path.name: header(pattern) + pattern.source}
    if with_test:
        texts[folder / pattern.test.name] = header(pattern) + standalone_test(pattern)
    present = [path.name for path in texts if path.exists()]
    if present and not force:
        raise PatternError(
            f"{' and '.join(present)} would be overwritten in {folder}. Choose another folder, or --force."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PatternError(f"{error.filename} cannot be written: {error.strerror}.") from None
    test = standalone_test(pattern) if with_test else ""
    services = tuple(name for name in ("DATABASE_URL", "REDIS_URL") if name in test)
    return Copied(tuple(texts), pattern.dependencies, ("pytest",) if with_test else (), services)


def header(pattern: Pattern) -> str:
    """Return the comment that goes on top of a copy."""
    version = importlib.metadata.version("fastapi-deskbook")
    tested = ", ".join([f"Python {TESTED_PYTHONS}", *_tested_versions(pattern)])
    return (
        f"# From the FastAPI Deskbook {version}, reference_app/patterns/{pattern.name}.py. MIT licence.\n"
        f"# Tested with {tested}.\n\n"
    )


def _tested_versions(pattern: Pattern) -> list[str]:
    """Return the exact versions that the suite runs with; outside a checkout what is declared."""
    try:
        pins = {pin.name: pin.version for pin in read_pins(root() / "requirements.lock")}
    except NotACheckoutError:
        return list(pattern.dependencies)
    names = [re.split(r"[^\w.-]", it)[0].lower() for it in pattern.dependencies]
    return [f"{name} {pins[name]}" for name in names if name in pins]


def standalone_test(pattern: Pattern) -> str:
    """Return the test with its imports turned from our package to the file beside it."""
    text = pattern.test.read_text(encoding="utf-8")
    return text.replace(f"from reference_app.patterns.{pattern.name} import ", f"from {pattern.name} import ")
