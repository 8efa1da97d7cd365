"""Servers for one process alone, for lessons and tests that change settings or break a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deskbook.services import binaries
from deskbook.services.access import disk_trouble_as_sentence, require_posix
from deskbook.services.both_ways import BothWays
from deskbook.services.errors import ServicesError
from deskbook.services.model import Services

if TYPE_CHECKING:
    from deskbook.services.lease import Lease

_ATTEMPTS = 5


def cluster(
    *, postgres: Mapping[str, str] | None = None, redis: Mapping[str, str] | None = None
) -> OwnCluster:
    """Give servers of one's own for a `with` or `async with` block; the target is a `Services`.

    They are embedded ones also where DATABASE_URL or REDIS_URL is set, end with the block, and end with this
    process however it ends.

    Args:
        postgres: Settings by their name in postgresql.conf, `{}` for the usual ones; None for no PostgreSQL.
        redis: Settings by their name in valkey.conf, `{}` for the usual ones; None for no Valkey.

    Example: `with cluster(postgres={"max_connections": "5"}) as own: ...`

    Raises:
        ServicesError: A server cannot be had, or refuses a setting; the message holds what it said.
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
        with disk_trouble_as_sentence():
            lease = _private_lease(self._settings)
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


def _private_lease(settings: Mapping[str, Mapping[str, str]]) -> Lease:
    # Not at the top: these modules need fcntl and Unix sockets, and Windows shall reach the sentence above.
    from deskbook.services.launcher import launch_private
    from deskbook.services.lease import Lease
    from deskbook.services.state import StateFolder

    for _ in range(_ATTEMPTS):
        state = StateFolder.private()
        state.create()
        lock = state.try_lock()
        # Another process that removes leftovers may be quicker than us with a folder that has no lock yet.
        if lock is not None:
            return Lease(launch_private(state, lock, settings), state)
    raise ServicesError("A folder for servers could not be kept.", "Try again.")
