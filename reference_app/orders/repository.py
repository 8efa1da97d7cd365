"""SQL of orders. It never commits: the service owns the transaction.

The statements of every order go straight to the driver (`infra/database.py`); amending, which is rare, goes
through SQLAlchemy.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import asyncpg
from sqlalchemy import Table, bindparam, inspect, select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.infra.database import driver_of
from reference_app.orders.models import Order, OrderRow
from reference_app.orders.states import OrderState
from reference_app.patterns.keyset_page import Keyset
from reference_app.patterns.optimistic_version import OptimisticVersion

NEWEST_FIRST = Keyset("orders", Order.id.desc())
VERSIONS = OptimisticVersion(cast(Table, inspect(Order).local_table))


FIELDS = OrderRow._fields
COLUMNS = ", ".join(FIELDS)

#: The order, its job (`job_of` of the service) and its event (`tell`): a round trip costs more than these
#: statements do, so they are one. The event needs no lock of its key, as `outbox.add` takes it: nobody else
#: knows the id of the order before the commit, so there is no other event to be in order with.
PLACE = f"""
WITH placed AS (
    INSERT INTO orders
        (owner_id, account_id, instrument_id, symbol, side, type, limit_price, hold_price, quantity)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {COLUMNS}
), job AS (
    INSERT INTO jobs (payload) SELECT concat_ws(' ', id, symbol, version) FROM placed
), event AS (
    INSERT INTO outbox (event_id, key, topic, payload)
    SELECT gen_random_uuid(), 'order ' || id, 'order.placed', json_build_object('order_id', id,
        'account_id', account_id, 'symbol', symbol, 'state', state, 'version', version)
    FROM placed
)
SELECT * FROM placed
"""  # noqa: S608 - constants
READ = f"SELECT {COLUMNS} FROM orders WHERE id = $1 AND owner_id = $2"  # noqa: S608
LOCK = f"SELECT {COLUMNS} FROM orders WHERE id = $1 FOR UPDATE"  # noqa: S608
MOVE = f"""
UPDATE orders SET state = $2, filled_quantity = filled_quantity + $3, version = version + 1,
    updated_at = clock_timestamp()
WHERE id = $1 RETURNING {COLUMNS}
"""  # noqa: S608
ADD_FILL = """
INSERT INTO fills (order_id, ledger_transaction_id, quantity, price, amount) VALUES ($1, $2, $3, $4, $5)
"""


def _page_sql(after: tuple[int] | None) -> str:
    """Return the SQL of a page as the pattern writes it, once: for the driver only its arguments change."""
    query = select(*(getattr(Order, name) for name in FIELDS)).where(Order.owner_id == bindparam("owner"))
    return str(NEWEST_FIRST.select(query, after=after, size=1).compile(dialect=dialect()))  # type: ignore[no-untyped-call]


FIRST_PAGE, NEXT_PAGE = _page_sql(None), _page_sql((1,))


async def read(connection: asyncpg.Connection, order_id: int, owner_id: uuid.UUID) -> OrderRow | None:
    """Return the order with this id, of this owner."""
    row = await connection.fetchrow(READ, order_id, owner_id)
    return row and OrderRow._make(row)


async def page(
    connection: asyncpg.Connection, owner_id: uuid.UUID, after: tuple[Any, ...] | None, size: int
) -> Sequence[OrderRow]:
    """Return the orders of this owner, newest first, one more than `size`."""
    if after is None:
        rows = await connection.fetch(FIRST_PAGE, owner_id, size + 1)
    else:
        rows = await connection.fetch(NEXT_PAGE, owner_id, *after, size + 1)
    return [OrderRow._make(row) for row in rows]


class OrderRepository:
    """Orders and fills in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def place(self, *values: Any) -> OrderRow:
        """Insert an order with its job and its event; the values stand in the order of `PLACE`."""
        driver = await driver_of(self._session)
        return OrderRow._make(await driver.fetchrow(PLACE, *values))

    async def of(self, owner_id: uuid.UUID, order_id: int) -> OrderRow | None:
        """Return the order with this id, of this owner."""
        return await read(await driver_of(self._session), order_id, owner_id)

    async def locked(self, order_id: int) -> OrderRow | None:
        """Return the order and lock its row until the transaction ends.

        Without the lock, a matcher and a cancellation both read "open": the order is filled, and what was
        held for it is given back as well.
        """
        row = await (await driver_of(self._session)).fetchrow(LOCK, order_id)
        return row and OrderRow._make(row)

    async def amend(self, order: OrderRow, values: Mapping[str, Any]) -> None:
        """Change columns of the version that was read; VersionConflict if it is another by now."""
        await VERSIONS.update(self._session, key=order.id, expected_version=order.version, values=values)

    async def move(self, order_id: int, state: OrderState, filled: int = 0) -> OrderRow:
        """Set the state of a locked order, and add to what is filled."""
        driver = await driver_of(self._session)
        return OrderRow._make(await driver.fetchrow(MOVE, order_id, state, filled))

    async def add_fill(
        self, order_id: int, ledger_transaction_id: int, quantity: int, price: Decimal, amount: Decimal
    ) -> None:
        """Insert a fill; a quantity below zero was sold."""
        driver = await driver_of(self._session)
        await driver.execute(ADD_FILL, order_id, ledger_transaction_id, quantity, price, amount)
