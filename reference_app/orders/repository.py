"""SQL of orders. It never commits: the service owns the transaction.

The statements of every order go straight to the driver (`infra/database/engine.py`); amending, which is rare,
goes through SQLAlchemy.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal

import asyncpg
from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.infra.database.base import table_of
from reference_app.infra.database.engine import driver_of
from reference_app.orders.models import HangingOrder, NewOrder, Order, OrderRow
from reference_app.orders.states import OrderState
from reference_app.patterns.keyset_page import Keyset
from reference_app.patterns.optimistic_version import OptimisticVersion

NEWEST_FIRST = Keyset("orders", Order.id.desc())
VERSIONS = OptimisticVersion(table_of(Order))

FIELDS = OrderRow._fields
COLUMNS = ", ".join(FIELDS)
_STATE = FIELDS.index("state")
#: A dictionary is asked in half the time that `OrderState(value)` takes, and a page has a hundred orders.
_STATES = {str(state): state for state in OrderState}

#: The order, its job (`job_of` in lifecycle.py) and its event (`tell`): a round trip costs more than these
#: statements do, so they are one. The event needs no lock of its key, as `outbox.add` takes it: nobody else
#: knows the id of the order before the commit, so there is no other event to be in order with.
PLACE = f"""
WITH placed AS (
    INSERT INTO orders
        (owner_id, account_id, instrument_id, symbol, side, type, limit_price, hold_price, quantity)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {COLUMNS}
), job AS (
    INSERT INTO queue (payload) SELECT concat_ws(' ', id, symbol, version) FROM placed
), event AS (
    INSERT INTO outbox (event_id, key, topic, payload)
    SELECT gen_random_uuid(), 'order ' || id, 'order.placed', json_build_object('order_id', id,
        'account_id', account_id, 'symbol', symbol, 'state', state, 'version', version)
    FROM placed
)
SELECT * FROM placed
"""  # noqa: S608 - constants
READ = f"SELECT {COLUMNS} FROM orders WHERE id = $1 AND owner_id = $2"  # noqa: S608
#: The owner stands in the statement: another user's row must not be locked before it is known whose it is.
LOCK = f"SELECT {COLUMNS} FROM orders WHERE id = $1 AND owner_id = coalesce($2, owner_id) FOR UPDATE"  # noqa: S608
MOVE = f"""
UPDATE orders SET state = $2, filled_quantity = filled_quantity + $3, version = version + 1,
    updated_at = clock_timestamp()
WHERE id = $1 RETURNING {COLUMNS}
"""  # noqa: S608
ADD_FILL = """
INSERT INTO fills (order_id, ledger_transaction_id, quantity, price, amount) VALUES ($1, $2, $3, $4, $5)
"""
#: Active orders whose job has failed again and again, or that have none: the number to alert on is of these.
HANGING = """
SELECT o.id, o.symbol, o.state, o.placed_at, job.tries, job.not_before AS next_try_at
FROM orders o LEFT JOIN queue job ON job.payload = concat_ws(' ', o.id, o.symbol, o.version)
WHERE o.state IN ('pending', 'open') AND (job.id IS NULL OR job.tries >= $1)
ORDER BY o.id LIMIT $2
"""
#: A job that a matcher has at this moment is left alone: it is being tried.
TRY_NOW = """
UPDATE queue SET tries = 0, not_before = now(), token = NULL
FROM orders o WHERE o.id = ANY($1::bigint[]) AND payload = concat_ws(' ', o.id, o.symbol, o.version)
    AND (token IS NULL OR not_before <= now())
RETURNING o.id
"""
PUT_MISSING_JOBS = """
INSERT INTO queue (payload)
SELECT concat_ws(' ', o.id, o.symbol, o.version) AS missing FROM orders o
WHERE o.id = ANY($1::bigint[]) AND o.state IN ('pending', 'open')
    AND NOT EXISTS (SELECT FROM queue WHERE payload = concat_ws(' ', o.id, o.symbol, o.version))
RETURNING split_part(payload, ' ', 1)::bigint AS id
"""


def _page_sql(after: tuple[int] | None) -> str:
    """Return the SQL of a page as the pattern writes it, once: for the driver only its arguments change."""
    query = select(*(getattr(Order, name) for name in FIELDS)).where(Order.owner_id == bindparam("owner"))
    return str(NEWEST_FIRST.select(query, after=after, size=1).compile(dialect=dialect()))  # type: ignore[no-untyped-call]


FIRST_PAGE, NEXT_PAGE = _page_sql(None), _page_sql((1,))


def _row(record: asyncpg.Record) -> OrderRow:
    values = list(record)
    values[_STATE] = _STATES[values[_STATE]]
    return OrderRow._make(values)


class OrderReader:
    """Reads orders on a connection of the driver, outside of a transaction: these are the hottest reads."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def order(self, owner_id: uuid.UUID, order_id: int) -> OrderRow | None:
        """Return the order with this id, of this owner."""
        record = await self._connection.fetchrow(READ, order_id, owner_id)
        return None if record is None else _row(record)

    async def page(
        self, owner_id: uuid.UUID, after: tuple[object, ...] | None, size: int
    ) -> Sequence[OrderRow]:
        """Return the orders of this owner, newest first, one more than `size`."""
        if after is None:
            records = await self._connection.fetch(FIRST_PAGE, owner_id, size + 1)
        else:
            records = await self._connection.fetch(NEXT_PAGE, owner_id, *after, size + 1)
        return [_row(record) for record in records]


class OrderRepository:
    """Orders and fills in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def place(
        self, owner_id: uuid.UUID, order: NewOrder, instrument_id: int, hold_price: Decimal | None
    ) -> OrderRow:
        """Insert an order with its job and its event.

        Args:
            owner_id: The user, who owns the account.
            order: What is wanted.
            instrument_id: The instrument of the order's symbol.
            hold_price: What a buy holds for each share; None for a sale.
        """
        driver = await driver_of(self._session)
        what = (order.symbol, order.side, order.type, order.limit_price, hold_price, order.quantity)
        return _row(await driver.fetchrow(PLACE, owner_id, order.account_id, instrument_id, *what))

    async def order(self, owner_id: uuid.UUID, order_id: int) -> OrderRow | None:
        """Return the order with this id, of this owner."""
        return await OrderReader(await driver_of(self._session)).order(owner_id, order_id)

    async def locked(self, order_id: int, owner_id: uuid.UUID | None = None) -> OrderRow | None:
        """Return the order and lock its row until the transaction ends.

        Without the lock, a matcher and a cancellation both read "open": the order is filled, and what was
        held for it is given back as well.
        """
        record = await (await driver_of(self._session)).fetchrow(LOCK, order_id, owner_id)
        return None if record is None else _row(record)

    async def amend(
        self, order: OrderRow, quantity: int, limit_price: Decimal | None, hold_price: Decimal | None
    ) -> None:
        """Change the version of an order that was read.

        Raises:
            VersionConflict: It is another version by now.
        """
        values = {"quantity": quantity, "limit_price": limit_price, "hold_price": hold_price}
        # Not now(): that is when the transaction began, which may be before the change that it follows.
        moment = {"updated_at": func.clock_timestamp()}
        await VERSIONS.update(
            self._session, key=order.id, expected_version=order.version, values=values | moment
        )

    async def move(self, order_id: int, state: OrderState, filled: int = 0) -> OrderRow:
        """Set the state of a locked order, and add to what is filled."""
        driver = await driver_of(self._session)
        return _row(await driver.fetchrow(MOVE, order_id, state, filled))

    async def hanging(self, tries: int, size: int) -> list[HangingOrder]:
        """Return at most `size` active orders whose job was run so often, or that have none."""
        driver = await driver_of(self._session)
        return [HangingOrder(**row) for row in await driver.fetch(HANGING, tries, size)]

    async def try_now(self, order_ids: Sequence[int]) -> list[int]:
        """Let the matchers look at these orders now, and return those that it concerns."""
        driver = await driver_of(self._session)
        rows = [*await driver.fetch(TRY_NOW, order_ids), *await driver.fetch(PUT_MISSING_JOBS, order_ids)]
        return sorted(row["id"] for row in rows)

    async def add_fill(
        self, order_id: int, ledger_transaction_id: int, quantity: int, price: Decimal, amount: Decimal
    ) -> None:
        """Insert a fill; a quantity below zero was sold."""
        driver = await driver_of(self._session)
        await driver.execute(ADD_FILL, order_id, ledger_transaction_id, quantity, price, amount)
