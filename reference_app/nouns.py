"""The nouns of the desk: a noun is added in this list and nowhere else.

A noun is a package `reference_app/<name>/` with `router` (it names its `routers`), `service` (it has
`open_service`), `repository`, `schemas`, `models` and `problems`. The app, the migrations, identity (for its
scopes), the course's template of a database and the tests read this list and find the modules by these names.
Identity stands below the other nouns; so nothing of theirs is imported here before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

from fastapi import APIRouter

from reference_app.infra.process.resources import Resources


@dataclass(frozen=True)
class Noun:
    """A package of the desk.

    Attributes:
        name: The name of the package.
        scopes: What every user may do with it, and the texts that the docs show.
        operator_scopes: What only an operator may do; `python -m reference_app.identity grant` gives it.
    """

    name: str
    scopes: Mapping[str, str] = field(default_factory=dict)
    operator_scopes: Mapping[str, str] = field(default_factory=dict)

    def module(self, name: str) -> ModuleType:
        """Import one of its modules, such as "models"."""
        return import_module(f"reference_app.{self.name}.{name}")

    def routers(self) -> Iterable[APIRouter]:
        """Return its routers, each with its whole path."""
        routers: Iterable[APIRouter] = self.module("router").routers
        return routers

    def open_service(self, resources: Resources) -> AbstractAsyncContextManager[object]:
        """Return the context manager that gives its service to a process, for the length of its life."""
        service: AbstractAsyncContextManager[object] = self.module("service").open_service(resources)
        return service


#: A noun stands after those whose services it uses: they are opened in this order. Routes are looked through
#: in this order as well, so what is asked most stands first.
NOUNS = (
    Noun("market"),
    Noun("candles", operator_scopes={"market:write": "Import instruments and candles."}),
    Noun(
        "orders",
        {"orders:read": "Read your orders.", "orders:write": "Place, amend and cancel orders."},
    ),
    Noun(
        "accounts",
        {
            "accounts:read": "Read your accounts and what happened to them.",
            "accounts:write": "Open accounts, deposit and withdraw.",
        },
    ),
    Noun("portfolio", {"portfolio:read": "Read your positions and their value."}),
    Noun(
        "watchlists",
        {"watchlists:read": "Read your watchlists.", "watchlists:write": "Change your watchlists."},
    ),
    Noun("identity"),
)


#: What every user may, by scope.
SCOPES = dict(sorted(item for noun in NOUNS for item in noun.scopes.items()))
#: What only an operator may, by scope.
OPERATOR_SCOPES = dict(sorted(item for noun in NOUNS for item in noun.operator_scopes.items()))


def import_models() -> None:
    """Import the models of all nouns: then `Base.metadata` has every table of theirs."""
    for noun in NOUNS:
        noun.module("models")
