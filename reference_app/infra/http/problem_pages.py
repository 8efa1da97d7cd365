"""A page for each problem type: the `type` of an error leads to its explanation (RFC 9457 section 3.1.1)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel

from reference_app.infra.http.routing import PrefixRouter
from reference_app.patterns.problem_details import InvalidRequest, Problem, documented

router = PrefixRouter(prefix="/problems", tags=["problems"])


class ProblemPage(BaseModel):
    """What a problem type means."""

    type: str
    title: str
    status: int
    description: str


class NotFound(Problem):
    """There is nothing at this address."""

    title, status = "Not Found", 404


@router.get("")
async def list_problem_types() -> list[ProblemPage]:
    """List every problem type of this service."""
    return sorted((_page(kind) for kind in _kinds(Problem)), key=lambda page: page.type)


@router.get("/{name}", responses=documented(NotFound, InvalidRequest))
async def read_problem_type(name: Annotated[str, Path(pattern="^[a-z-]{1,60}$")]) -> ProblemPage:
    """Explain one problem type."""
    for kind in _kinds(Problem):
        if kind.type == f"/problems/{name}":
            return _page(kind)
    raise NotFound


def _kinds(parent: type[Problem]) -> Iterator[type[Problem]]:
    for kind in parent.__subclasses__():
        # A class that a notebook or a test of the same process has made is no problem of this service.
        is_ours = getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind
        if is_ours and kind.__module__.startswith("reference_app.") and kind.type.startswith("/problems/"):
            yield kind
        yield from _kinds(kind)


def _page(kind: type[Problem]) -> ProblemPage:
    return ProblemPage(
        type=kind.type, title=kind.title, status=kind.status, description=inspect.getdoc(kind) or kind.title
    )
