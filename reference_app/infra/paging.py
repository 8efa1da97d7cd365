"""Keyset pages over HTTP: parameters, body and Link. `patterns/keyset_page.py` has the idea."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from reference_app.patterns import keyset_page
from reference_app.patterns.problem_details import Problem

Item = TypeVar("Item")
Row = TypeVar("Row")
Key = TypeVar("Key")
Model = TypeVar("Model", bound=BaseModel)

MAX_PAGE_SIZE = 1000

PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="How many items at most.")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=keyset_page.MAX_CURSOR_LENGTH,
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


def encode_cursor(key: object) -> str:
    """Return an opaque token for the last key of a page; clients must not build one themselves."""
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, parse: Callable[[str], Key]) -> Key | None:
    """Return the key inside a token, or None where there is no token.

    Args:
        cursor: What the client sent: anything.
        parse: Makes the key of its text; raises ValueError where the text cannot be one.

    Raises:
        InvalidCursor: The token is not one of `encode_cursor`.
    """
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key = parse(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
    except ValueError:  # of base64, of UTF-8 or of the key
        key = None
    if key is None or encode_cursor(key) != cursor:
        raise InvalidCursor("Pass `next_cursor` of the page before unchanged, or leave `cursor` out.")
    return key


def cut(rows: Sequence[Row], page_size: int) -> tuple[Sequence[Row], bool]:
    """Split `page_size + 1` rows into the page and whether more follow: no COUNT is needed."""
    return rows[:page_size], len(rows) > page_size


def read_page(
    found: keyset_page.Page[Row], item: Callable[[Row], Model], request: Request[Any], response: Response
) -> Page[Model]:
    """Return the body of a page, and add the Link header (RFC 8288).

    Args:
        found: What the service read.
        item: Makes the model of one row.
        request: Whose query the links repeat.
        response: Gets the header.
    """
    response.headers["Link"] = keyset_page.link_header(request.query_params.multi_items(), found.next_cursor)
    items = [item(row) for row in found.items]
    return Page.model_construct(items=items, next_cursor=found.next_cursor)


def link_next(request: Request[Any], response: Response, cursor: str | None) -> None:
    """Add `Link: <...>; rel="next"` (RFC 8288); relative, so that it is right behind every proxy."""
    if cursor is not None:
        query = urlencode({**request.query_params, "cursor": cursor})
        response.headers["Link"] = f'<?{query}>; rel="next"'
