"""Keyset pages over HTTP: parameters, body and Link. `patterns/keyset_page.py` has the idea."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from reference_app.patterns import keyset_page
from reference_app.patterns.problem_details import Problem

Item = TypeVar("Item")
Row = TypeVar("Row")

MAX_PAGE_SIZE = 1000
#: The keys of the desk make short cursors. The pattern takes far longer ones; in an address, with each of its
#: characters escaped, one of those is more than a server reads, and what it answers is no problem document.
MAX_CURSOR_LENGTH = 2000

PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="How many items at most.")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=MAX_CURSOR_LENGTH,
        description="`next_cursor` of the page before; leave it out for the first page.",
    ),
]


class InvalidCursor(Problem):
    """The cursor did not come from this service."""

    type, title, status = "/problems/invalid-cursor", "The cursor is not valid", 400


class Page(BaseModel, Generic[Item]):
    """One page of a list and the way to the next."""

    items: list[Item]
    next_cursor: str | None = Field(
        description="Pass it as `cursor` for the next page; null on the last page."
    )


def read_page(
    found: keyset_page.Page[Row], item: Callable[[Row], Item], request: Request[Any], response: Response
) -> Page[Item]:
    """Return the body of a page, and add the Link header (RFC 8288).

    Args:
        found: The page as the service has read it.
        item: Makes one item of the body out of one row.
        request: Its query is repeated in the links.
        response: It gets the Link header.
    """
    response.headers["Link"] = keyset_page.link_header(request.query_params.multi_items(), found.next_cursor)
    items = [item(row) for row in found.items]
    return Page.model_construct(items=items, next_cursor=found.next_cursor)
