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
read and make up a cursor: it holds keys (up to 3 kB, as much as an index takes), so no secrets, and it is no
permission. asyncpg has one value for "infinity" and for the last day that Python knows (9999-12-31): a column
may hold either.

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
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.sql.operators import desc_op

Row = TypeVar("Row")
#: An index takes keys of some 2,700 bytes, of which each may have to be escaped.
MAX_CURSOR_LENGTH = 22_000
_KINDS = {int, str, Decimal, UUID, dt.date, dt.datetime}
#: What asyncpg makes of "-infinity" and "infinity".
_FIRST = (dt.date.min, dt.datetime.min)  # noqa: DTZ901
_LAST = (dt.date.max, dt.datetime.max)  # noqa: DTZ901


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
        self._columns = [c.element if isinstance(c, sa.UnaryExpression) else c for c in columns]
        # A mapped attribute may have another name than its column, and below desc() stands the column.
        self._names = [str(c._annotations.get("proxy_key", c.key)) for c in self._columns]
        self._types = [getattr(c.type, "impl", c.type) for c in self._columns]  # impl: of a TypeDecorator
        for column, type_ in zip(self._columns, self._types, strict=True):
            is_known = type_.python_type in _KINDS and not isinstance(type_, sa.Enum)
            if getattr(column, "nullable", False) or not is_known:
                raise ValueError(f"{column.key} must be NOT NULL and a number, text, date, timestamp or UUID")

    def select(self, query: sa.Select[Any], *, after: tuple[Any, ...] | None, size: int) -> sa.Select[Any]:
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
        """Cut what `select` found into the page and whether more follow.

        Raises:
            ValueError: `size` is below 1: such a page has no last row to go on from.
        """
        if size < 1:
            raise ValueError("size must be at least 1")
        if len(rows) <= size:
            return Page(rows, None)
        return Page(rows[:size], self._encode([getattr(rows[size - 1], name) for name in self._names]))

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
            key = tuple(_parse(type_, str(it)) for type_, it in zip(self._types, texts, strict=True))
            if self._encode(key) == cursor:  # so it has our name, and one spelling
                return key
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            pass
        raise InvalidCursor("pass the next_cursor of the page before unchanged, or leave it out")

    def _encode(self, key: Iterable[Any]) -> str:
        raw = json.dumps([self._name, *map(_text, key)], ensure_ascii=False, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def _comes_after(self, key: Sequence[Any]) -> sa.ColumnElement[bool]:
        columns, values = zip(*map(_sides, self._columns, key), strict=True)
        if len(set(self._down)) == 1:  # one range of the index
            here, there = sa.tuple_(*columns), sa.tuple_(*values)
            return here < there if self._down[0] else here > there
        later: sa.ColumnElement[bool] = sa.false()
        for column, value, down in reversed(list(zip(columns, values, self._down, strict=True))):
            beyond = column < value if down else column > value
            # The AND on top bounds the range in the index; an OR would not.
            later = sa.and_(column <= value if down else column >= value, sa.or_(beyond, later))
        return later


def link_header(params: Iterable[tuple[str, str]], next_cursor: str | None) -> str:
    """Return the value of Link; relative to the request's own address, so right behind every proxy."""
    query = [(name, value) for name, value in params if name != "cursor"]
    first = f'<?{urlencode(query)}>; rel="first"'
    if next_cursor is None:
        return first
    return f'{first}, <?{urlencode([*query, ("cursor", next_cursor)])}>; rel="next"'


def _sides(column: Any, value: Any) -> tuple[Any, Any]:
    """Return a column and the value to compare it with."""
    naive = value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value
    if naive in (*_FIRST, *_LAST):
        # asyncpg would send "infinity", also for a real last day; so "infinity" is taken for that day.
        zone = "Z" if getattr(column.type, "timezone", False) else ""
        end = sa.cast(sa.literal_column(f"'{naive.isoformat()}{zone}'"), column.type)
        return (sa.func.least if naive in _LAST else sa.func.greatest)(column, end), end
    # Without the column's precision: no value that a client has made up overflows it.
    return column, sa.literal(value, sa.Numeric() if isinstance(value, Decimal) else column.type)


def _text(value: Any) -> str:
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.UTC)  # one spelling
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _parse(type_: Any, text: str) -> Any:
    """Return the value, or raise ValueError for one that PostgreSQL would refuse, which would be a 500."""
    kind = type_.python_type
    value: Any = getattr(kind, "fromisoformat", kind)(text)
    if isinstance(value, int):
        bits = 63 if isinstance(type_, sa.BigInteger) else 15 if isinstance(type_, sa.SmallInteger) else 31
        fits = -(2**bits) <= value < 2**bits
    elif isinstance(value, Decimal) and value.is_finite():
        fits = value.adjusted() < 131_072 and int(value.as_tuple().exponent) >= -16_383
    elif isinstance(value, dt.datetime):
        fits = (value.tzinfo is not None) == type_.timezone or value in (*_FIRST, *_LAST)
    else:
        fits = "\x00" not in text and (kind is not Decimal or text in {"NaN", "Infinity", "-Infinity"})
    if not fits:
        raise ValueError
    return value
