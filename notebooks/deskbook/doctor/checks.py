"""The checks of the doctor, one function each. A check looks; it starts and changes nothing."""

from __future__ import annotations

import dataclasses
import enum
import platform
import shutil
import socket
import sys
from pathlib import Path

from deskbook.environment import pythons
from deskbook.environment.installed import differences, is_installed_from
from deskbook.services import Inspection, inspect

#: A PostgreSQL data folder, kernels and pictures; measured well below this.
NEEDED_BYTES = 500_000_000
LAB_PORT = 8888
SERVE_PORT = 8000
#: Names under which Chromium and its relatives are installed.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class State(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        subject: What was looked at.
        state: A problem means that lab or test would not work.
        text: What was found.
        remedy: What to do, empty when all is well.
    """

    subject: str
    state: State
    text: str
    remedy: str = ""


def check_python() -> Finding:
    """Is this Python one that the suite is tested on?"""
    version = sys.version_info[:2]
    text = f"{platform.python_version()} ({platform.python_implementation()})"
    if (reason := pythons.refusal(version)) is not None:
        return Finding("Python", State.WARNING, f"{text} is not tested", reason)
    if version < pythons.OLDEST:
        remedy = f"Use {pythons.SUPPORTED}: make lab PYTHON=python3.14"
        return Finding("Python", State.PROBLEM, f"{text} is too old", remedy)
    return Finding("Python", State.OK, text)


def check_packages(checkout: Path) -> Finding:
    """Is every package of the lock installed at its version, and the project itself from this checkout?"""
    found = [str(item) for item in differences(checkout / "requirements.lock")]
    if not is_installed_from(checkout):
        found.append("the project is not installed from this checkout")
    if not found:
        return Finding("Packages", State.OK, "all as in requirements.lock")
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return Finding(
        "Packages", State.PROBLEM, shown, "Run `make env`, or update your own environment to the lock."
    )


def check_ports() -> Finding:
    """Are the ports free that lab and serve take by themselves? The servers look for free ones."""
    remedies = {
        LAB_PORT: "lab takes the next free port; `--port` chooses one",
        SERVE_PORT: "give serve another: make serve ARGS='--port 8001'",
    }
    taken = [port for port in remedies if not _is_free(port)]
    if not taken:
        return Finding("Ports", State.OK, f"{LAB_PORT} (lab) and {SERVE_PORT} (serve) are free")
    text = f"{' and '.join(map(str, taken))} taken by another program"
    return Finding("Ports", State.WARNING, text, "; ".join(remedies[port] for port in taken))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def find_chromium() -> str | None:
    """Return the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def check_chromium() -> Finding:
    """Is there a Chromium for the browser tests?"""
    path = find_chromium()
    if path:
        return Finding("Chromium", State.OK, Path(path).name)
    return Finding(
        "Chromium",
        State.WARNING,
        "not found; the lessons work without it, the browser tests do not run",
        "On Debian and Ubuntu: sudo apt install chromium",
    )


def check_disk(checkout: Path) -> Finding:
    """Is there room for data folders and outputs?"""
    free = shutil.disk_usage(checkout).free
    text = f"{free / 1e9:.1f} GB free"
    if free >= NEEDED_BYTES:
        return Finding("Disk", State.OK, text)
    return Finding("Disk", State.PROBLEM, text, f"Free {NEEDED_BYTES / 1e9:.1f} GB here.")


def check_services() -> list[Finding]:
    """Which servers would be taken, of which version, and would they work?"""
    return [_service_finding(_SERVICE_NAMES[name], found) for name, found in inspect().items()]


_SERVICE_NAMES = {"postgres": "PostgreSQL", "redis": "Valkey or Redis"}


def _service_finding(subject: str, found: Inspection) -> Finding:
    if found.problem:
        return Finding(subject, State.PROBLEM, found.problem, found.remedy or "")
    return Finding(subject, State.OK, f"{found.version} from {found.origin} ({found.reason})")
