# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg>=0.30", "sqlalchemy[asyncio]>=2.1"]
# ///
"""Pages that start after the last key of the page before: no row twice, none left out, each page as fast.

Use it for every list that grows. OFFSET reads all rows before the page, and a row that is inserted among them
moves the rest: a client sees one row twice, or never.

Do not use it where people jump to page 17, or where rows change their place while somebody reads.

Limits: the columns must be NOT NULL and together unique (end with the primary key), with an index in their
order. Forwards only. It is no snapshot: rows inserted after the cursor are seen, before it not. A client can
read and make up a cursor: it holds keys (up to 1 kB), so no secrets, and it is no permission.

Instead: `sqlakeyset` pages backwards too and reads the order off the query. Its bookmarks name the types to
parse whatever the columns are, so a made-up one can reach the database and end as 500. It compares rows, as
an index likes it, under psycopg2 and not asyncpg.

It uses SQLAlchemy without I/O, so that it serves any session and any query.

Example:
    >>> from sqlalchemy import Column, Date, Integer, MetaData, Table
    >>> id, day = Column("id", Integer, primary_key=True), Column("day", Date, nullable=False)
    >>> trades = Table("trades", MetaData(), id, day)
    >>> newest = Keyset("newest trades", day.desc(), id.desc())
    >>> from types import SimpleNamespace  # stands for the rows that newest.select(...) finds
    >>> page = newest.page([SimpleNamespace(day=dt.date(2026, 11, 20), id=it) for it in (9, 8, 7)], size=2)
    >>> newest.decode(page.next_cursor)
    (datetime.date(2026, 11, 20), 8)
    >>> link_header([("limit", "2")], "WyJu")
    '<?limit=2>; rel="first", <?limit=2&cursor=WyJu>; rel="next"'

Source: M. Winand, use-the-index-luke.com/no-offset; RFC 8288 (Link); PostgreSQL documentation, 9.25.5.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Select, SmallInteger, and_, literal, or_, tuple_
from sqlalchemy.sql.operators import desc_op

Row = TypeVar("Row")
MAX_CURSOR_LENGTH = 2_000
_PARSE: dict[type, Callable[[str], Any]] = {
    int: int,
    str: str,
    Decimal: Decimal,
    UUID: UUID,
    dt.date: dt.date.fromisoformat,
    dt.datetime: dt.datetime.fromisoformat,
}


class InvalidCursor(ValueError):
    """The cursor is not one of this list. Answer 400."""


class Page(NamedTuple, Generic[Row]):
    """One page.

    Attributes:
        items: Its rows.
        next_cursor: Where the next one begins; None on the last.
    """

    items: Sequence[Row]
    next_cursor: str | None


class Keyset:
    """The order of a list.

    Args:
        name: The name of the list in this order; a cursor of another one is refused.
        columns: As for `order_by`, with `.desc()` where it goes down.

    Raises:
        ValueError: A column may be NULL, and no comparison finds such rows; or its type has no cursor.
    """

    def __init__(self, name: str, *columns: Any) -> None:
        self._name = name
        self._order = columns
        self._down = [getattr(column, "modifier", None) is desc_op for column in columns]
        self._columns = [c.element if down else c for c, down in zip(columns, self._down, strict=True)]
        for column in self._columns:
            if getattr(column, "nullable", False) or column.type.python_type not in _PARSE:
                raise ValueError(f"{column.key} must be NOT NULL and a number, text, date, time or UUID")

    def select(self, query: Select[Any], *, after: tuple[Any, ...] | None, size: int) -> Select[Any]:
        """Add the order, the limit and where the page starts.

        Args:
            query: Finds the rows of the list.
            after: A key from `decode`; None starts at the beginning.
            size: Rows of a page; one more is read, to know whether more follow.
        """
        if after is not None:
            query = query.where(self._comes_after(after))
        return query.order_by(*self._order).limit(size + 1)

    def page(self, rows: Sequence[Row], *, size: int) -> Page[Row]:
        """Cut what `select` found into the page and whether more follow."""
        if len(rows) <= size:
            return Page(rows, None)
        return Page(rows[:size], self._encode([getattr(rows[size - 1], c.key) for c in self._columns]))

    def decode(self, cursor: str | None) -> tuple[Any, ...] | None:
        """Return the key in a cursor; None for none.

        Raises:
            InvalidCursor: No page gave it out.
        """
        if cursor is None:
            return None
        try:
            padded = cursor[:MAX_CURSOR_LENGTH] + "=" * (-len(cursor) % 4)
            _, *texts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            key = tuple(_parse(column.type, str(it)) for column, it in zip(self._columns, texts, strict=True))
            if self._encode(key) == cursor:  # so it has our name, and one spelling
                return key
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            pass
        raise InvalidCursor("pass the next_cursor of the page before unchanged, or leave it out")

    def _encode(self, key: Iterable[Any]) -> str:
        raw = json.dumps([self._name, *map(_text, key)], ensure_ascii=False, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def _comes_after(self, key: Sequence[Any], start: int = 0) -> ColumnElement[bool]:
        values = [literal(value, c.type) for value, c in zip(key, self._columns, strict=True)]
        if len(set(self._down)) == 1:  # one range of the index
            here, there = tuple_(*self._columns), tuple_(*values)
            return here < there if self._down[0] else here > there
        column, value, down = self._columns[start], values[start], self._down[start]
        beyond: ColumnElement[bool] = column < value if down else column > value
        if start == len(values) - 1:
            return beyond
        # The AND on top bounds the range in the index; an OR would not.
        bound = column <= value if down else column >= value
        return and_(bound, or_(beyond, self._comes_after(key, start + 1)))


def link_header(params: Iterable[tuple[str, str]], next_cursor: str | None) -> str:
    """Return the value of Link; relative to the request's own address, so right behind every proxy."""
    query = [(name, value) for name, value in params if name != "cursor"]
    first = f'<?{urlencode(query)}>; rel="first"'
    if next_cursor is None:
        return first
    return f'{first}, <?{urlencode([*query, ("cursor", next_cursor)])}>; rel="next"'


def _text(value: Any) -> str:
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.UTC)  # one spelling
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _parse(type_: Any, text: str) -> Any:
    """Return the value, or raise ValueError for one that PostgreSQL would refuse, which would be a 500."""
    value: Any = _PARSE[type_.python_type](text)
    bits = 63 if isinstance(type_, BigInteger) else 15 if isinstance(type_, SmallInteger) else 31
    if (
        (isinstance(value, int) and not -(2**bits) <= value < 2**bits)
        or (isinstance(value, str) and "\x00" in value)
        or (isinstance(value, Decimal) and not (value.is_finite() and abs(value.adjusted()) < 1000))
        or (isinstance(value, dt.datetime) and (value.tzinfo is None) == type_.timezone)
    ):
        raise ValueError
    return value
