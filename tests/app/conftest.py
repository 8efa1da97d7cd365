"""What must hold at every moment, by SQL alone: after every load, fault and interleaving."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

#: Each finds the rows that break a rule. One statement each, so each sees one moment.
INVARIANTS = {
    "the ledger sums to zero": "SELECT sum(amount) FROM ledger_entries HAVING sum(amount) <> 0",
    "each transaction sums to zero": """
        SELECT transaction_id FROM ledger_entries GROUP BY transaction_id HAVING sum(amount) <> 0
    """,
    "a balance is the sum of its entries, and not below its limit": """
        SELECT a.id FROM accounts a LEFT JOIN ledger_entries e ON e.account_id = a.id WHERE a.kind = 'cash'
        GROUP BY a.id HAVING a.balance <> coalesce(sum(e.amount), 0) OR a.balance < a.minimum_balance
    """,
    "what is held is what active orders need": """
        SELECT held, needed FROM
            (SELECT coalesce(sum(amount), 0) AS held FROM ledger_entries
                WHERE account_id = '00000000-0000-4000-8000-000000000002') ledger,
            (SELECT coalesce(sum(hold_price * (quantity - filled_quantity)), 0) AS needed FROM orders
                WHERE state IN ('pending', 'open')) active
        WHERE held <> needed
    """,
    "a position is the sum of its fills, and not below zero": """
        SELECT p.account_id, p.quantity, f.quantity FROM positions p FULL JOIN
            (SELECT o.account_id, o.instrument_id, sum(f.quantity) AS quantity
                FROM fills f JOIN orders o ON o.id = f.order_id GROUP BY 1, 2) f
            USING (account_id, instrument_id)
        WHERE p.quantity IS DISTINCT FROM f.quantity OR p.quantity < 0
    """,
    "reserved shares are those of active sales": """
        SELECT p.account_id, p.reserved FROM positions p LEFT JOIN orders o
            ON o.account_id = p.account_id AND o.instrument_id = p.instrument_id
            AND o.side = 'sell' AND o.state IN ('pending', 'open')
        GROUP BY p.account_id, p.instrument_id, p.reserved
        HAVING p.reserved <> coalesce(sum(o.quantity - o.filled_quantity), 0)
    """,
    "an order is filled as far as its fills say": """
        SELECT o.id FROM orders o LEFT JOIN fills f ON f.order_id = o.id GROUP BY o.id
        HAVING o.filled_quantity <> coalesce(sum(abs(f.quantity)), 0)
    """,
    "each fill has its transaction": """
        SELECT ledger_transaction_id FROM fills GROUP BY 1 HAVING count(*) > 1
    """,
    "no accepted order is lost: an active one has a job for its version": """
        SELECT o.id FROM orders o WHERE o.state IN ('pending', 'open') AND NOT EXISTS
            (SELECT FROM jobs WHERE payload = o.id || ' ' || o.symbol || ' ' || o.version)
    """,
    "one key, one effect: each stored reply names an order, and each order one reply": """
        SELECT key, o.id FROM
            (SELECT key, (convert_from(body, 'UTF8')::json ->> 'id')::bigint AS id FROM idempotency_keys) k
            FULL JOIN orders o USING (id)
        WHERE o.id IS NULL OR key IS NULL
    """,
    "no reply was stored twice": """
        SELECT convert_from(body, 'UTF8')::json ->> 'id' FROM idempotency_keys GROUP BY 1 HAVING count(*) > 1
    """,
}

Invariants = Callable[[str], Awaitable[None]]


@pytest.fixture(scope="session")
def invariants() -> Invariants:
    """Return what asserts all invariants of the database at an address."""

    async def hold(database_url: str) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            broken: dict[str, list[Any]] = {}
            for rule, query in INVARIANTS.items():
                rows = await connection.fetch(query)
                if rows:
                    broken[rule] = rows[:3]
        finally:
            await connection.close()
        assert broken == {}

    return hold
