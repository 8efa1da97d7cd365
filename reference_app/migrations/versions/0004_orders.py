"""Positions, orders, fills; the tables of the idempotency keys, the job queue and the outbox."""

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DESK_ACCOUNTS = {
    uuid.UUID("00000000-0000-4000-8000-000000000002"): "Held for open orders",
    uuid.UUID("00000000-0000-4000-8000-000000000003"): "Exchange",
}
KINDS_BEFORE = "kind IN ('deposit', 'withdrawal')"
KINDS = "kind IN ('deposit', 'withdrawal', 'hold', 'release', 'buy', 'sell')"

# The machine of orders/states.py, as far as a mistake would be worst: what is over stays as it is.
FINAL_IS_FINAL = """
CREATE FUNCTION orders_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'order % is %, which is final', OLD.id, OLD.state
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'orders_final_is_final';
END $$
"""


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.TIMESTAMP(timezone=True), server_default=sa.func.now(), nullable=False)


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False)


def upgrade() -> None:
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    op.drop_constraint(op.f("ledger_transactions_kind_check"), "ledger_transactions")
    op.create_check_constraint(op.f("ledger_transactions_kind_check"), "ledger_transactions", KINDS)
    accounts = sa.table("accounts", sa.column("id", sa.Uuid), sa.column("kind"), sa.column("name"))
    rows = [{"id": id_, "kind": "outside", "name": name} for id_, name in DESK_ACCOUNTS.items()]
    op.bulk_insert(accounts, rows)
    op.execute("SET CONSTRAINTS ALL DEFERRED")
    create_positions()
    create_orders()
    create_fills()
    create_tables_of_patterns()


def create_positions() -> None:
    op.create_table(
        "positions",
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("instrument_id", sa.Integer, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "instrument_id", name="positions_pkey"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="positions_account_id_fkey"),
        sa.ForeignKeyConstraint(["instrument_id"], ["instruments.id"], name="positions_instrument_id_fkey"),
        sa.CheckConstraint("reserved >= 0 AND reserved <= quantity", name=op.f("positions_reserved_check")),
    )


def create_orders() -> None:
    checks = {
        "side": "side IN ('buy', 'sell')",
        "type": "type IN ('market', 'limit')",
        "state": "state IN ('pending', 'open', 'filled', 'cancelled', 'rejected')",
        "limit_has_price": "(type = 'limit') = (limit_price IS NOT NULL)",
        "limit_price": "limit_price > 0 AND limit_price < 1e14 AND scale(limit_price) <= 4",
        "buy_has_hold": "(side = 'buy') = (hold_price IS NOT NULL)",
        "hold_price": "hold_price > 0 AND hold_price < 1e14 AND scale(hold_price) <= 2",
        "quantity": "quantity > 0 AND filled_quantity BETWEEN 0 AND quantity",
        "filled": "(state = 'filled') = (filled_quantity = quantity)",
    }
    op.create_table(
        "orders",
        _id(),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("instrument_id", sa.Integer, nullable=False),
        sa.Column("symbol", sa.String(10), nullable=False),
        sa.Column("side", sa.String(4), nullable=False),
        sa.Column("type", sa.String(6), nullable=False),
        sa.Column("limit_price", sa.Numeric),
        sa.Column("hold_price", sa.Numeric),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("filled_quantity", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("state", sa.String(10), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("version", sa.Integer, server_default=sa.text("1"), nullable=False),
        _time("placed_at"),
        _time("updated_at"),
        sa.PrimaryKeyConstraint("id", name="orders_pkey"),
        sa.ForeignKeyConstraint(
            ["owner_id", "account_id"], ["accounts.owner_id", "accounts.id"], name="orders_owner_id_fkey"
        ),
        sa.ForeignKeyConstraint(["instrument_id"], ["instruments.id"], name="orders_instrument_id_fkey"),
        *(sa.CheckConstraint(rule, name=op.f(f"orders_{name}_check")) for name, rule in checks.items()),
    )
    op.create_index("orders_owner_id_id_idx", "orders", ["owner_id", "id"])
    op.execute(FINAL_IS_FINAL)
    op.execute(
        "CREATE TRIGGER final_is_final BEFORE UPDATE ON orders FOR EACH ROW "
        "WHEN (OLD.state IN ('filled', 'cancelled', 'rejected')) EXECUTE FUNCTION orders_refuse_change()"
    )


def create_fills() -> None:
    op.create_table(
        "fills",
        _id(),
        sa.Column("order_id", sa.BigInteger, nullable=False),
        sa.Column("ledger_transaction_id", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("price", sa.Numeric, nullable=False),
        sa.Column("amount", sa.Numeric, nullable=False),
        _time("filled_at"),
        sa.PrimaryKeyConstraint("id", name="fills_pkey"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fills_order_id_fkey"),
        sa.ForeignKeyConstraint(
            ["ledger_transaction_id"], ["ledger_transactions.id"], name="fills_ledger_transaction_id_fkey"
        ),
        sa.CheckConstraint("quantity <> 0", name=op.f("fills_quantity_check")),
        sa.CheckConstraint(
            "price > 0 AND price < 1e14 AND scale(price) <= 4", name=op.f("fills_price_check")
        ),
        sa.CheckConstraint(
            "amount > 0 AND amount < 1e14 AND scale(amount) <= 2", name=op.f("fills_amount_check")
        ),
    )
    op.create_index("fills_order_id_idx", "fills", ["order_id"])
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON fills "
        "FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()"
    )


def create_tables_of_patterns() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name="idempotency_keys_pkey"),
    )
    op.create_index("idempotency_keys_expires_at_idx", "idempotency_keys", ["expires_at"])
    op.create_table(
        "jobs",
        _id(),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, server_default=sa.text("0"), nullable=False),
        _time("not_before"),
        sa.Column("token", sa.Uuid),
        sa.PrimaryKeyConstraint("id", name="jobs_pkey"),
    )
    op.create_index("jobs_not_before_idx", "jobs", ["not_before"])
    op.create_table(
        "outbox",
        _id(),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, server_default=sa.text("0"), nullable=False),
        _time("created_at"),
        _time("not_before"),
        sa.PrimaryKeyConstraint("id", name="outbox_pkey"),
    )
    op.create_index("outbox_key_id_idx", "outbox", ["key", "id"])


def downgrade() -> None:
    """Go back while nothing was traded: history that the older schema cannot hold is not thrown away."""
    for table in ("outbox", "jobs", "idempotency_keys", "fills", "orders", "positions"):
        op.drop_table(table)
    op.execute("DROP FUNCTION orders_refuse_change()")
    accounts = sa.table("accounts", sa.column("id", sa.Uuid))
    op.execute(accounts.delete().where(accounts.c.id.in_(list(DESK_ACCOUNTS))))
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    op.drop_constraint(op.f("ledger_transactions_kind_check"), "ledger_transactions")
    op.create_check_constraint(op.f("ledger_transactions_kind_check"), "ledger_transactions", KINDS_BEFORE)
    op.execute("SET CONSTRAINTS ALL DEFERRED")
