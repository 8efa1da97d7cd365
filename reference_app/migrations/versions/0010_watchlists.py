"""Watchlists of users."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0010"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "watchlists",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("note", sa.String(500)),
        sa.Column("symbols", ARRAY(sa.String(10)), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="watchlists_pkey"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="watchlists_owner_id_fkey"),
        sa.CheckConstraint("cardinality(symbols) <= 100", name=op.f("watchlists_symbols_check")),
        sa.CheckConstraint("version > 0", name=op.f("watchlists_version_check")),
    )
    op.create_index("watchlists_owner_id_id_idx", "watchlists", ["owner_id", "id"], unique=True)


def downgrade() -> None:
    op.drop_table("watchlists")
