"""What every route of the desk is called, and what those that read say besides their body.

A noun has its own list, `tests/app/<noun>/routes.py`, with `ROUTES` and perhaps `fill`, which puts something
there to be read. A route that stands in no list is found by the tests of the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from reference_app.nouns import NOUNS

PRIVATE, NO_STORE = "private, no-cache", "no-store"


@dataclass(frozen=True)
class Read:
    """What a route that reads says.

    Attributes:
        url: Where it is asked; names in braces are of what `fill` has put there.
        cache_control: How long it may be kept.
        has_etag: Whether a client can ask for it again at no cost.
        has_date: Whether it says when it changed: only where the service knows for certain.
    """

    url: str
    cache_control: str = PRIVATE
    has_etag: bool = True
    has_date: bool = False


#: By method and path in the OpenAPI document; None is a route that changes something.
Routes = Mapping[str, Read | None]

INFRA: Routes = {
    "GET /health/live": Read("/health/live", NO_STORE, has_etag=False),
    "GET /health/ready": Read("/health/ready", NO_STORE, has_etag=False),
    "GET /problems": Read("/problems"),
    "GET /problems/{name}": Read("/problems/name-taken"),
}


def modules() -> list[ModuleType]:
    """Return the module of each noun that lists its routes."""
    return [import_module(f"tests.app.{noun.name}.routes") for noun in NOUNS]


def all_routes() -> dict[str, Read | None]:
    """Return the routes of all nouns and those of infra."""
    routes = dict(INFRA)
    for module in modules():
        routes |= module.ROUTES
    return routes
