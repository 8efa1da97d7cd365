"""The state folder of one supervisor holds its lock, its socket, and what to remove when it has died.

    deskbook-<uid>-<key>/          mode 0700
        lock                       flock held from before the supervisor starts until all its files are gone
        socket                     the supervisor listens here; every client holds a connection
        data-folder                the name of the folder with the servers' data, written before that is made
        log                        what the supervisor printed

Whoever gets the lock knows that no supervisor is alive and that everything found is left over. The operating
system frees it however its holder dies, so there is no stale lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import stat
import sys
import tempfile
from pathlib import Path

from deskbook.processes.leftovers import kill_if_ours
from deskbook.services.errors import ServicesError

#: Part of the key: a supervisor started by older code with another protocol is not spoken to.
PROTOCOL = 1

#: The address of a Unix socket holds 104 bytes on macOS and 108 on Linux, with a zero byte at its end.
_SOCKET_PATH_MAX_BYTES = 100


class StateFolder:
    """A folder `deskbook-<uid>-<key>` in the directory for temporary files.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = path / "socket"
        self.log = path / "log"
        self._lock = path / "lock"
        self._data_note = path / "data-folder"

    @classmethod
    def shared(cls, mode: str) -> StateFolder:
        """Return the folder of the supervisor that all processes of this user and environment share."""
        identity = f"{PROTOCOL}\0{os.getuid()}\0{os.path.realpath(sys.prefix)}\0{mode}"
        return cls(_base() / f"{_prefix()}{hashlib.sha256(identity.encode()).hexdigest()[:10]}")

    @classmethod
    def private(cls) -> StateFolder:
        """Return a folder for servers that one process keeps to itself."""
        return cls(_base() / f"{_prefix()}own-{secrets.token_hex(5)}")

    def create(self) -> None:
        """Make the folder, or check that the one there is ours and closed to others.

        Raises:
            ServicesError: Somebody else made it, or it cannot be made.
        """
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            found = self.path.lstat()
        except FileNotFoundError as error:
            if self.path.parent.is_dir():
                # Removed between the two lines by a supervisor that ends: make it again.
                return self.create()
            raise ServicesError(
                f"The folder {self.path} cannot be made: {self.path.parent} is not there ({error.strerror}).",
                "Make that folder, or set TMPDIR to a folder you may write to.",
            ) from None
        except OSError as error:
            raise ServicesError(
                f"The folder {self.path} cannot be made ({error.strerror}).",
                "Free some space there, or set TMPDIR to a folder you may write to.",
            ) from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ServicesError(
                f"{self.path} exists but is not a folder of yours that is closed to others, "
                "so it is not used.",
                "Remove it, or set TMPDIR to another folder.",
            )
        return None

    def try_lock(self) -> int | None:
        """Take the lock without waiting.

        Without it two processes would each start servers, or remove files the other one has just made.

        Returns:
            A file descriptor that holds the lock until every copy of it is closed, or None: it is taken, or
            the folder has just been removed.
        """
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            return None
        with contextlib.suppress(OSError):  # Another process holds it.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another file by this name means that a supervisor removed the one we hold while we opened it.
            if self.is_locked_by(descriptor):
                return descriptor
        os.close(descriptor)
        return None

    def is_locked_by(self, descriptor: int) -> bool:
        """Say whether the lock file is still the one behind `descriptor`."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._lock.stat())
        except OSError:
            return False

    def note_owner(self) -> None:
        """Write our process number into the lock file, for people; the caller holds the lock."""
        self._lock.write_text(str(os.getpid()))

    def owner(self) -> str:
        """Return the process number of the supervisor, or "" where there is none."""
        try:
            return self._lock.read_text()
        except OSError:
            return ""

    def make_data_folder(self) -> Path:
        """Make the folder for the servers' data; the caller holds the lock.

        It lies outside, because the user PostgreSQL runs as (`nobody` for root) may not enter this folder.
        Its name is noted first, so that it is found again if this process is killed on the next line.
        """
        folder = _open_base() / f"deskbook-data-{os.getuid()}-{secrets.token_hex(5)}"
        self._data_note.write_text(str(folder))
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            folder.chmod(0o711)
        return folder

    def clear(self) -> None:
        """Remove what an earlier supervisor left, servers included; the caller holds the lock."""
        with contextlib.suppress(OSError):
            data = Path(self._data_note.read_text())
            # The note was written by us; the check keeps a damaged one from naming another folder.
            if data.name.startswith(f"deskbook-data-{os.getuid()}-"):
                kill_if_ours(data / "postgres/data/postmaster.pid", data.name, signal.SIGQUIT)
                kill_if_ours(data / "redis/server.pid", data.name, signal.SIGTERM)
                shutil.rmtree(data, ignore_errors=True)
        for path in (self._data_note, self.socket, self.log):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything, the lock last; the caller holds the lock."""
        self.clear()
        self._lock.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another process may have made a new lock file already
            self.path.rmdir()


def remove_leftovers() -> None:
    """Remove the folders of this user whose supervisor is dead, and servers that outlived it."""
    for path in _base().glob(f"{_prefix()}*"):
        if path.is_symlink() or path.lstat().st_uid != os.getuid():
            continue
        folder = StateFolder(path)
        descriptor = folder.try_lock()
        if descriptor is not None:
            folder.remove()
            os.close(descriptor)


def _prefix() -> str:
    return f"deskbook-{os.getuid()}-"


def _base() -> Path:
    """Return the directory for temporary files, or /tmp where a socket path in it would be too long."""
    base = Path(tempfile.gettempdir())
    longest = base / f"{_prefix()}own-{'0' * 10}" / "socket"
    return base if len(os.fsencode(longest)) <= _SOCKET_PATH_MAX_BYTES else Path("/tmp")  # noqa: S108


def _open_base() -> Path:
    """Return the directory for data; for root one that `nobody` can reach."""
    base = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in (base, *base.parents)):
        return base
    return Path("/tmp")  # noqa: S108
