"""Accounts and the double-entry ledger, with the rules that the database holds by itself.

The functions name their schema (`search_path`): without it a session could create a temporary table
`ledger_entries`, which would be found first, and every rule would be checked against the wrong table.
"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OUTSIDE_WORLD = uuid.UUID("00000000-0000-4000-8000-000000000001")

SUMS_TO_ZERO = """
CREATE FUNCTION ledger_check_transaction() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    checked bigint := CASE WHEN TG_TABLE_NAME = 'ledger_entries'
        THEN (to_jsonb(NEW) ->> 'transaction_id')::bigint ELSE (to_jsonb(NEW) ->> 'id')::bigint END;
    sides bigint;
    total numeric;
BEGIN
    SELECT count(*), sum(amount) INTO sides, total FROM ledger_entries WHERE transaction_id = checked;
    IF sides < 2 OR total <> 0 THEN
        RAISE EXCEPTION 'ledger transaction % has % entries that sum to %', checked, sides, total
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_transactions_sum_to_zero';
    END IF;
    RETURN NULL;
END $$
"""

# Deferred to the commit: between the first and the second entry the sum cannot be zero.
TRANSACTION_TRIGGERS = """
CREATE CONSTRAINT TRIGGER sums_to_zero AFTER INSERT ON {table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_transaction()
"""

CONTINUES_THE_ACCOUNT = """
CREATE FUNCTION ledger_check_entry() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    account accounts;
    before numeric;
    following ledger_entries;
BEGIN
    SELECT * INTO account FROM accounts WHERE id = NEW.account_id;
    IF account.kind = 'outside' AND NEW.balance_after IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT balance_after INTO before FROM ledger_entries
        WHERE account_id = NEW.account_id AND id < NEW.id ORDER BY id DESC LIMIT 1;
    SELECT * INTO following FROM ledger_entries
        WHERE account_id = NEW.account_id AND id > NEW.id ORDER BY id LIMIT 1;
    IF NEW.balance_after IS DISTINCT FROM coalesce(before, 0) + NEW.amount
        OR NEW.balance_after IS DISTINCT FROM
            coalesce(following.balance_after - following.amount, account.balance)
    THEN
        RAISE EXCEPTION 'ledger entry % does not continue the balance of account %', NEW.id, NEW.account_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entries_continue_the_account';
    END IF;
    RETURN NULL;
END $$
"""

BALANCE_IS_THE_LAST_ENTRY = """
CREATE FUNCTION ledger_check_account() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    current numeric;
    last numeric;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.kind <> OLD.kind THEN
        RAISE EXCEPTION 'account % cannot change its kind', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_kind_is_final';
    END IF;
    SELECT balance INTO current FROM accounts WHERE id = NEW.id;
    SELECT balance_after INTO last FROM ledger_entries WHERE account_id = NEW.id ORDER BY id DESC LIMIT 1;
    IF NEW.kind = 'cash' AND current <> coalesce(last, 0) THEN
        RAISE EXCEPTION 'the balance of account % is not what its entries leave', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_balance_is_the_last_entry';
    END IF;
    RETURN NULL;
END $$
"""

APPEND_ONLY = """
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: post a transaction that reverses the wrong one', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_TABLE_NAME || '_append_only';
END $$
"""


def upgrade() -> None:
    create_tables()
    for function in (SUMS_TO_ZERO, CONTINUES_THE_ACCOUNT, BALANCE_IS_THE_LAST_ENTRY, APPEND_ONLY):
        op.execute(function)
    op.execute(
        "CREATE CONSTRAINT TRIGGER continues_the_account AFTER INSERT ON ledger_entries "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_entry()"
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER balance_is_the_last_entry AFTER INSERT OR UPDATE ON accounts "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_account()"
    )
    for table in ("ledger_transactions", "ledger_entries"):
        op.execute(TRANSACTION_TRIGGERS.format(table=table))
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()"
        )
    accounts = sa.table("accounts", sa.column("id", sa.Uuid), sa.column("kind"), sa.column("name"))
    op.bulk_insert(accounts, [{"id": OUTSIDE_WORLD, "kind": "outside", "name": "Outside world"}])


def create_tables() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("balance", sa.Numeric),
        sa.Column("minimum_balance", sa.Numeric),
        sa.Column("opened_at", sa.TIMESTAMP(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="accounts_pkey"),
        sa.CheckConstraint("kind IN ('cash', 'outside')", name=op.f("accounts_kind_check")),
        sa.CheckConstraint(
            "(kind = 'cash') = (balance IS NOT NULL) AND (kind = 'cash') = (minimum_balance IS NOT NULL)",
            name=op.f("accounts_cash_has_balance_check"),
        ),
        sa.CheckConstraint("balance >= minimum_balance", name=op.f("accounts_minimum_balance_check")),
        sa.CheckConstraint(
            "scale(balance) <= 2 AND abs(balance) < 1e14", name=op.f("accounts_balance_scale_check")
        ),
        sa.CheckConstraint(
            "scale(minimum_balance) <= 2 AND abs(minimum_balance) < 1e14",
            name=op.f("accounts_minimum_scale_check"),
        ),
    )
    op.create_table(
        "ledger_transactions",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("posted_at", sa.TIMESTAMP(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="ledger_transactions_pkey"),
        sa.CheckConstraint("kind IN ('deposit', 'withdrawal')", name=op.f("ledger_transactions_kind_check")),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("transaction_id", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.Uuid, nullable=False),
        sa.Column("amount", sa.Numeric, nullable=False),
        sa.Column("balance_after", sa.Numeric),
        sa.PrimaryKeyConstraint("id", name="ledger_entries_pkey"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="ledger_entries_account_id_fkey"),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["ledger_transactions.id"], name="ledger_entries_transaction_id_fkey"
        ),
        sa.CheckConstraint(
            "amount <> 0 AND scale(amount) <= 2 AND abs(amount) < 1e14",
            name=op.f("ledger_entries_amount_check"),
        ),
        sa.CheckConstraint(
            "scale(balance_after) <= 2 AND abs(balance_after) < 1e14",
            name=op.f("ledger_entries_balance_after_check"),
        ),
    )
    op.create_index("ledger_entries_account_id_id_idx", "ledger_entries", ["account_id", "id"], unique=True)
    op.create_index("ledger_entries_transaction_id_idx", "ledger_entries", ["transaction_id"])


def downgrade() -> None:
    op.drop_table("ledger_entries")
    op.drop_table("ledger_transactions")
    op.drop_table("accounts")
    for name in ("transaction", "entry", "account"):
        op.execute(f"DROP FUNCTION ledger_check_{name}()")
    op.execute("DROP FUNCTION ledger_refuse_change()")
