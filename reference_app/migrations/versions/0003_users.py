"""Users, and whose each cash account is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Accounts from before there were users get one who cannot sign in: "!" is the hash of no password.
ADOPT = """
    WITH adopter AS (
        INSERT INTO users (id, name, password_hash, scopes)
        SELECT gen_random_uuid(), 'unclaimed', '!', '{}'
        WHERE EXISTS (SELECT FROM accounts WHERE kind = 'cash')
        RETURNING id
    )
    UPDATE accounts SET owner_id = adopter.id FROM adopter WHERE kind = 'cash'
"""


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.String(30)), nullable=False),
        sa.Column("joined_at", sa.TIMESTAMP(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
        sa.UniqueConstraint("name", name="users_name_key"),
        sa.CheckConstraint("name ~ '^[a-z][a-z0-9_.-]{1,31}$'", name=op.f("users_name_check")),
    )
    # All migrations are one transaction: the deferred checks of the ledger that 0002 has queued, and the
    # UPDATE below would queue, run at once. A table with queued checks cannot be altered.
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")
    op.add_column("accounts", sa.Column("owner_id", sa.Uuid))
    op.execute(ADOPT)
    op.create_foreign_key("accounts_owner_id_fkey", "accounts", "users", ["owner_id"], ["id"])
    op.create_check_constraint(
        op.f("accounts_cash_has_owner_check"), "accounts", "(kind = 'cash') = (owner_id IS NOT NULL)"
    )
    op.create_unique_constraint("accounts_owner_id_id_key", "accounts", ["owner_id", "id"])
    op.execute("SET CONSTRAINTS ALL DEFERRED")


def downgrade() -> None:
    op.drop_column("accounts", "owner_id")
    op.drop_table("users")
