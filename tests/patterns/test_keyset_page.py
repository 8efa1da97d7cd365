"""Every row that stays is seen once, whatever comes and goes meanwhile, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import decimal
import doctest
import functools
import itertools
import json
import os
import re
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Index,
    Integer,
    MetaData,
    Numeric,
    Select,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    and_,
    delete,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateSchema, DropSchema

from reference_app.patterns.keyset_page import InvalidCursor, Keyset, Page, link_header

TRADES = Table(
    "trades",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("day", Integer, nullable=False),
    Column("symbol", Text, nullable=False),
)
BY_DAY = Index(None, TRADES.c.day, TRADES.c.id)
BY_SYMBOL = Index(None, TRADES.c.symbol, TRADES.c.day.desc(), TRADES.c.id)
UP = (TRADES.c.day, TRADES.c.id)
DOWN = (TRADES.c.day.desc(), TRADES.c.id.desc())
MIXED = (TRADES.c.symbol, TRADES.c.day.desc(), TRADES.c.id)


def in_a_loop(test: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """Make an ordinary test of a coroutine function, so that pytest needs no plugin."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def database() -> AsyncIterator[AsyncConnection]:
    """Give a connection on a schema of this test's own, with 60 trades: ten a day, three symbols."""
    if "DATABASE_URL" not in os.environ:
        pytest.fail("Set DATABASE_URL to a PostgreSQL database where tests may make schemas.", pytrace=False)
    url = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql+asyncpg:", os.environ["DATABASE_URL"])
    schema = f"test_{uuid.uuid4().hex}"
    engine = create_async_engine(url, connect_args={"server_settings": {"search_path": schema}})
    try:
        async with engine.connect() as connection, connection.begin() as transaction:
            await connection.execute(CreateSchema(schema))
            await connection.run_sync(TRADES.metadata.create_all, checkfirst=False)
            rows = [{"id": 1000 * it, "day": it // 10, "symbol": "ABC"[it % 3]} for it in range(60)]
            await connection.execute(insert(TRADES), rows)
            yield connection
            await connection.execute(DropSchema(schema, cascade=True))
            await transaction.commit()
    finally:
        await engine.dispose()


async def read_all(
    connection: AsyncConnection, keyset: Any, *, size: int, restless: bool = False
) -> tuple[list[int], set[int]]:
    """Page through all trades, by cursors as a client would; return what was seen, and what stayed.

    Where restless, trades come and go between the pages, before and after the cursor.
    """
    seen: list[int] = []
    cursor, stays = None, {1000 * it for it in range(60)}
    for number in itertools.count():
        query = keyset.select(select(TRADES), after=keyset.decode(cursor), size=size)
        page = keyset.page((await connection.execute(query)).all(), size=size)
        assert len(page.items) <= size
        seen += [row.id for row in page.items]
        if page.next_cursor is None:
            return seen, stays
        cursor = page.next_cursor
        if restless:
            ghosts = [{"id": 1000 * it + number + 1, "day": it // 10, "symbol": "B"} for it in (5, 30, 55)]
            await connection.execute(insert(TRADES), ghosts)
            gone = 1000 * (7 * number % 60)
            await connection.execute(delete(TRADES).where(TRADES.c.id == gone))
            stays -= {gone}
    raise AssertionError


async def each_row_is_seen_once(kind: Any, order: Sequence[Any], restless: bool) -> bool:
    async with database() as connection:
        for size in (1, 7, 20, 60, 100) if not restless else (4, 9):
            keyset = kind("trades", *order)
            async with asyncio.timeout(20), connection.begin_nested() as savepoint:
                seen, stays = await read_all(connection, keyset, size=size, restless=restless)
                await savepoint.rollback()
            ordered = seen == sorted(seen) or order is not UP
            if len(seen) != len(set(seen)) or not stays <= set(seen) or not ordered:
                return False
        return True


@pytest.mark.parametrize("restless", [False, True])
@pytest.mark.parametrize(
    "order", [UP, DOWN, MIXED, (TRADES.c.id,)], ids=["up", "down", "mixed", "one column"]
)
def test_each_row_that_stays_is_seen_once(order: Sequence[Any], restless: bool) -> None:
    assert asyncio.run(each_row_is_seen_once(Keyset, order, restless))


class ByOffset(Keyset):
    """A wrong twin: the cursor counts rows, and the rows before it move."""

    def decode(self, cursor: str | None) -> Any:
        return None if cursor is None else (int(cursor),)

    def select(self, query: Select[Any], *, after: Any, size: int) -> Select[Any]:
        self.start = after[0] if after else 0
        return query.order_by(*self._order).offset(self.start).limit(size + 1)

    def page(self, rows: Sequence[Any], *, size: int) -> Any:
        following = str(self.start + size) if len(rows) > size else None
        return Page(rows[:size], following)


class WithoutTieBreaker(Keyset):
    """A wrong twin: by day alone; the rest of a day is lost at the end of a page."""

    def __init__(self, name: str, *columns: Any) -> None:
        super().__init__(name, columns[0])


class EachColumnBeyond(Keyset):
    """A wrong twin: every column for itself, which leaves out most of the rows."""

    def _comes_after(self, key: Sequence[Any], start: int = 0) -> Any:
        pairs = zip(self._columns, key, self._down, strict=True)
        return and_(*(column < value if down else column > value for column, value, down in pairs))


class RowsComparedWhateverTheDirection(Keyset):
    """A wrong twin: one row comparison also where one column goes up and another one down."""

    def __init__(self, name: str, *columns: Any) -> None:
        super().__init__(name, *columns)
        self._down = [False] * len(columns)


@pytest.mark.parametrize(
    ("twin", "order", "restless"),
    [
        (ByOffset, UP, True),
        (WithoutTieBreaker, UP, False),
        (EachColumnBeyond, UP, False),
        (RowsComparedWhateverTheDirection, MIXED, False),
    ],
)
def test_wrong_twins_are_rejected(twin: Any, order: Sequence[Any], restless: bool) -> None:
    assert not asyncio.run(each_row_is_seen_once(twin, order, restless))


@pytest.mark.parametrize(
    ("order", "condition"), [(UP, "ROW(day, id) >"), (DOWN, "ROW(day, id) <"), (MIXED, "symbol >=")]
)
def test_a_page_starts_inside_the_index(order: Sequence[Any], condition: str) -> None:
    """However far the page: nothing is sorted, and nothing read from the beginning of the index."""

    async def plan() -> str:
        async with database() as connection:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
            keyset = Keyset("trades", *order)
            rows = (await connection.execute(keyset.select(select(TRADES), after=None, size=30))).all()
            after = keyset.decode(keyset.page(rows, size=30).next_cursor)
            query = keyset.select(select(TRADES), after=after, size=30)
            compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
            explained = await connection.execute(text(f"EXPLAIN {compiled}".replace(":", "\\:")))
            return "\n".join(explained.scalars())

    found = asyncio.run(plan())
    assert "Sort" not in found
    assert re.search(r"Index Cond: \(+" + re.escape(condition), found), found


NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
KINDS: list[tuple[Any, Any]] = [
    (Integer(), -(2**31)),
    (BigInteger(), 2**63 - 1),
    (SmallInteger(), 32767),
    (Text(), 'Ünïcode "quoted", and a\nnewline'),
    (Numeric(20, 8), decimal.Decimal("123456789012.12345678")),
    (Date(), dt.date(2026, 11, 20)),
    (DateTime(), dt.datetime(2026, 11, 20, 12, 0, 0, 1)),  # noqa: DTZ001
    (DateTime(timezone=True), NOON),
    (Uuid(), uuid.UUID(int=7)),
]


def keyset_of(type_: Any) -> Any:
    return Keyset("list", Column("key", type_, nullable=False))


@pytest.mark.parametrize(("type_", "value"), KINDS, ids=lambda it: type(it).__name__)
def test_keys_come_back_exactly_and_postgresql_takes_them(type_: Any, value: Any) -> None:
    table = Table("keys", MetaData(), Column("key", type_, nullable=False))
    keyset = Keyset("list", table.c.key)
    cursor = keyset.page([SimpleNamespace(key=value)] * 2, size=1).next_cursor
    assert re.fullmatch(r"[\w-]+", cursor)
    assert keyset.decode(cursor) == (value,)

    async def ask() -> None:
        async with database() as connection:
            await connection.run_sync(table.create)
            await connection.execute(insert(table).values(key=value))
            query = keyset.select(select(table), after=keyset.decode(cursor), size=1)
            assert (await connection.execute(query)).all() == []

    asyncio.run(ask())


def made_up(*values: Any, name: str = "list") -> str:
    raw = json.dumps([name, *values], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize(
    ("type_", "cursor"),
    [
        *((Integer(), it) for it in ("", "!", "AAAA", "é", "eA==", "a" * 3000, made_up(), made_up("1", "2"))),
        *((Integer(), made_up(it)) for it in ("x", "01", " 1", "1_0", "٣", 1, None, [], {}, str(2**31))),
        (Integer(), made_up("1", name="another list")),
        (Integer(), made_up("1") + "="),
        (Integer(), base64.urlsafe_b64encode(b'["list", "1"]').decode().rstrip("=")),
        (Integer(), base64.urlsafe_b64encode(b"5").decode().rstrip("=")),
        (Integer(), base64.urlsafe_b64encode(b"[" * 1400).decode().rstrip("=")),
        (SmallInteger(), made_up("32768")),
        (BigInteger(), made_up(str(2**63))),
        (Text(), made_up("a\x00")),
        (Text(), made_up("\ud800")),
        (Text(), made_up(5)),
        *((Numeric(), made_up(it)) for it in
          ("nan", "-NaN", "NaN1", "sNaN", "inf", "1E+131072", "1E-16384", "1_0", "x", [1])),
        *((Date(), made_up(it)) for it in ("20261120", "2026-13-01", "2026-11-20T00:00:00", 5)),
        (DateTime(), made_up("2026-11-20T12:00:00+00:00")),
        *((DateTime(timezone=True), made_up(it)) for it in
          ("2026-11-20T12:00:00", "2026-11-20T12:00:00+02:00", "0001-01-01T00:00:00+14:00")),
        *((Uuid(), made_up(it)) for it in ("7", "{00000000-0000-0000-0000-000000000007}", 5)),
    ],
)  # fmt: skip
def test_a_made_up_cursor_is_refused_before_the_database_sees_it(type_: Any, cursor: str) -> None:
    with pytest.raises(InvalidCursor, match="next_cursor"):
        keyset_of(type_).decode(cursor)


#: What PostgreSQL can hold and a client can read, as SQL, in the order of PostgreSQL.
EVERY_KIND: dict[str, tuple[Any, list[str]]] = {
    "date": (Date(), ["-infinity", "0001-01-02", "2026-11-20", "9999-12-30", "infinity"]),
    "timestamp": (DateTime(), ["-infinity", "0001-01-01 00:00:00.000001", "2026-11-20 12:00", "infinity"]),
    "timestamptz": (
        DateTime(timezone=True),
        [
            "-infinity",
            "0001-01-01 00:00:00.000001+00",
            "2026-10-25 02:30+02",
            "2026-10-25 02:30+01",
            "infinity",
        ],
    ),
    "numeric": (
        Numeric(),
        ["-infinity", "-1e131071", "-1.50", "0.00000000", "1e-16383", "1.5", "1e5000", "infinity", "NaN"],
    ),
    "numeric(10, 2)": (Numeric(10, 2), ["-99999999.99", "0.00", "0.01", "99999999.99", "NaN"]),
    "smallint": (SmallInteger(), ["-32768", "0", "32767"]),
    "integer": (Integer(), ["-2147483648", "0", "2147483647"]),
    "bigint": (BigInteger(), ["-9223372036854775808", "0", "9223372036854775807"]),
    "text": (Text(), ["", "\u0001" * 2600, '"\\', "A", "a\u2028b\x85c", "z" * 2600, "\U0001f600"]),
    "uuid": (Uuid(), [str(uuid.UUID(int=0)), str(uuid.UUID(int=7)), str(uuid.UUID(int=2**128 - 1))]),
}


@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("kind", EVERY_KIND)
@in_a_loop
async def test_every_value_that_postgresql_returns_comes_back_as_a_cursor(kind: str, down: bool) -> None:
    """Three rows of each value, a page for each row: none is left out, none comes twice."""
    type_, values = EVERY_KIND[kind]
    table = Table("kinds", MetaData(), Column("key", type_, nullable=False), Column("id", Integer))
    order = [table.c.key, table.c.id] if not down else [table.c.key.desc(), table.c.id.desc()]
    table.c.id.nullable = False
    keyset = Keyset("list", *order)
    async with database() as connection:
        await connection.execute(text(f'CREATE TABLE kinds (key {kind} COLLATE "C", id int)' if kind == "text"
                                      else f"CREATE TABLE kinds (key {kind}, id int)"))  # fmt: skip
        for number, value in enumerate(it for it in values for _ in range(3)):
            insertion = text(f"INSERT INTO kinds VALUES (CAST(CAST(:value AS text) AS {kind}), :id)")
            await connection.execute(insertion, {"value": value, "id": number})
        seen: list[int] = []
        cursor = None
        while len(seen) <= 3 * len(values):
            query = keyset.select(select(table), after=keyset.decode(cursor), size=1)
            page = keyset.page((await connection.execute(query)).all(), size=1)
            seen += [row.id for row in page.items]
            if page.next_cursor is None:
                break
            cursor = page.next_cursor
    assert seen == sorted(range(3 * len(values)), reverse=down)


@pytest.mark.parametrize(
    ("kind", "last"), [("date", "9999-12-31"), ("timestamptz", "9999-12-31 23:59:59.999999Z")]
)
@pytest.mark.parametrize("mixed", [False, True])
@in_a_loop
async def test_a_last_day_that_is_no_infinity_is_gone_on_from_too(kind: str, last: str, mixed: bool) -> None:
    """asyncpg would ask for what comes after "infinity", and the rest of that day would be lost."""
    type_ = Date() if kind == "date" else DateTime(timezone=True)
    columns = [Column("key", type_, nullable=False), Column("id", Integer, nullable=False)]
    table = Table("kinds", MetaData(), *columns)
    keyset = Keyset("list", table.c.key, table.c.id.desc() if mixed else table.c.id)
    async with database() as connection:
        await connection.execute(text(f"CREATE TABLE kinds (key {kind}, id int)"))
        await connection.execute(text(f"INSERT INTO kinds SELECT '{last}', generate_series(1, 4)"))
        seen: list[int] = []
        cursor = None
        for _ in range(4):
            query = keyset.select(select(table), after=keyset.decode(cursor), size=1)
            page = keyset.page((await connection.execute(query)).all(), size=1)
            seen += [row.id for row in page.items]
            cursor = page.next_cursor
    assert (seen, cursor) == ([4, 3, 2, 1] if mixed else [1, 2, 3, 4], None)


class Base(DeclarativeBase):
    pass


class Cents(TypeDecorator[int]):
    impl = BigInteger
    cache_ok = True


class Trade(Base):
    """A mapped class one of whose attributes has another name than its column."""

    __tablename__ = "mapped_trades"
    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[dt.date] = mapped_column("created_on")


@pytest.mark.parametrize(
    "order",
    [
        (Trade.created, Trade.id),
        (Trade.created.asc(), Trade.id.asc()),
        (Trade.created.desc(), Trade.id.desc()),
        (Trade.created.desc(), Trade.id),
    ],
    ids=["plain", "up", "down", "mixed"],
)
def test_objects_are_paged_by_attributes_whatever_their_columns_are_called(order: Any) -> None:
    keyset = Keyset("trades", *order)
    rows = [Trade(id=number, created=dt.date(2026, 1, number)) for number in (1, 2)]
    cursor = keyset.page(rows, size=1).next_cursor
    assert keyset.decode(cursor) == (dt.date(2026, 1, 1), 1)
    query = keyset.select(select(Trade), after=keyset.decode(cursor), size=1)
    assert "created_on" in str(query)


def test_a_type_of_the_service_has_the_range_of_the_type_below_it() -> None:
    keyset = keyset_of(Cents())
    cursor = keyset.page([SimpleNamespace(key=2**40)] * 2, size=1).next_cursor
    assert keyset.decode(cursor) == (2**40,)


@in_a_loop
async def test_a_made_up_number_overflows_no_column() -> None:
    table = Table("kinds", MetaData(), Column("key", Numeric(10, 2), nullable=False))
    keyset = Keyset("list", table.c.key)
    async with database() as connection:
        await connection.run_sync(table.create)
        for text_ in ("1E+131071", "0.005", "Infinity", "NaN"):
            query = keyset.select(select(table), after=keyset.decode(made_up(text_)), size=1)
            assert (await connection.execute(query)).all() == []


@pytest.mark.parametrize("size", [0, -1])
def test_a_page_of_no_rows_is_refused_because_it_has_no_last_one(size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        keyset_of(Integer()).page([SimpleNamespace(key=1)], size=size)


@pytest.mark.parametrize(
    "column",
    [
        Column("key", Integer),
        Column("key", Float, nullable=False),
        Column("key", Enum("buy", "sell"), nullable=False),
    ],
)
def test_columns_that_cannot_be_paged_by_are_refused(column: Column[Any]) -> None:
    with pytest.raises(ValueError, match="NOT NULL"):
        Keyset("list", column)


def test_links_keep_the_query_and_are_relative() -> None:
    params = [("limit", "2"), ("symbol", "A&B"), ("symbol", "C"), ("cursor", "old")]
    assert link_header(params, "new") == (
        '<?limit=2&symbol=A%26B&symbol=C>; rel="first", '
        '<?limit=2&symbol=A%26B&symbol=C&cursor=new>; rel="next"'
    )
    assert link_header([], None) == '<?>; rel="first"'


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[Keyset.__module__]).failed == 0
