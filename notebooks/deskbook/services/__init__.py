"""Real PostgreSQL and Valkey servers on a laptop: find them, start them, leave nothing behind.

    services = ensure()                                # both servers, with addresses and versions
    with fresh_database() as url: ...                  # an empty database of one's own
    async with fresh_database(template) as url: ...    # a clone of a template that is built once
    with fresh_redis() as url: ...                     # a logical Valkey database of one's own
    with cluster(postgres={"max_connections": "5"}) as own: ...
    inspect(), status(), stop()                        # for the doctor and the command line

Servers belong to one supervisor process a user and environment, and end about a second after the last process
that asked for them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deskbook.services.access import ensure
    from deskbook.services.control import Status, status, stop
    from deskbook.services.databases import FreshDatabase, fresh_database
    from deskbook.services.errors import ServicesError
    from deskbook.services.inspection import Inspection, inspect
    from deskbook.services.model import Service, Services
    from deskbook.services.own_cluster import OwnCluster, cluster
    from deskbook.services.redis_databases import FreshRedis, fresh_redis
    from deskbook.services.templates import Template

__all__ = [
    "FreshDatabase",
    "FreshRedis",
    "Inspection",
    "OwnCluster",
    "Service",
    "Services",
    "ServicesError",
    "Status",
    "Template",
    "cluster",
    "ensure",
    "fresh_database",
    "fresh_redis",
    "inspect",
    "status",
    "stop",
]

_HOMES = {
    "control": ("Status", "status", "stop"),
    "databases": ("FreshDatabase", "fresh_database"),
    "access": ("ensure",),
    "errors": ("ServicesError",),
    "inspection": ("Inspection", "inspect"),
    "model": ("Service", "Services"),
    "own_cluster": ("OwnCluster", "cluster"),
    "redis_databases": ("FreshRedis", "fresh_redis"),
    "templates": ("Template",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used.

    The supervisor imports from this package too, and starts in a fifth of the time without asyncio.
    """
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
