"""Servers for one process alone, for lessons and tests that change settings or break a server."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from deskbook.services import binaries, launcher
from deskbook.services.both_ways import BothWays
from deskbook.services.ensuring import require_posix
from deskbook.services.errors import ServicesError
from deskbook.services.lease import Lease
from deskbook.services.model import Services
from deskbook.services.state import StateFolder

_ATTEMPTS = 5


def cluster(
    *, postgres: Mapping[str, str] | None = None, redis: Mapping[str, str] | None = None
) -> OwnCluster:
    """Give servers of one's own for a `with` or `async with` block; the target is a `Services`.

    They are embedded ones also where DATABASE_URL or REDIS_URL is set, end with the block, and end with this
    process however it ends.

    Args:
        postgres: settings by their name in postgresql.conf, `{}` for the usual ones; None for no PostgreSQL.
        redis: settings by their name in valkey.conf, `{}` for the usual ones; None for no Valkey.

    Example: `with cluster(postgres={"max_connections": "5"}) as own: ...`

    Raises:
        ServicesError: a server cannot be had, or refuses a setting; the message holds what it said.
    """
    given = {"postgres": postgres, "redis": redis}
    return OwnCluster({name: dict(settings) for name, settings in given.items() if settings is not None})


class OwnCluster(BothWays[Services]):
    """The context manager behind `cluster`."""

    def __init__(self, settings: Mapping[str, Mapping[str, str]]) -> None:
        if not settings:
            raise ValueError("name a server: cluster(postgres={...}), cluster(redis={...}) or both")
        self._settings = settings
        self._lease: Lease | None = None

    def _open(self) -> Services:
        require_posix()
        found = {name: binaries.find(name) for name in self._settings}
        state, connection = self._launch()
        lease = Lease(connection, state)
        try:
            services = lease.request(found)
        except ConnectionError:
            lease.close()
            raise ServicesError(
                "The process that owns the servers ended before they were ready.", "Try again."
            ) from None
        except BaseException:
            lease.close()
            raise
        self._lease = lease
        return Services(**services)

    def _close(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.stop()
            lease.close()

    def _launch(self) -> tuple[StateFolder, socket.socket]:
        for _ in range(_ATTEMPTS):
            state = StateFolder.private()
            state.create()
            lock = state.try_lock()
            # Another process that removes leftovers may be quicker than us with a folder that has no lock
            # yet.
            if lock is not None:
                return state, launcher.launch_private(state, lock, self._settings)
        raise ServicesError("A folder for servers could not be kept.", "Try again.")
