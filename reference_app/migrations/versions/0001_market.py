"""Instruments and daily candles."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "instruments",
        sa.Column("id", sa.Integer, sa.Identity(always=True), nullable=False),
        sa.Column("symbol", sa.String(10), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("id", name="instruments_pkey"),
        sa.UniqueConstraint("symbol", name="instruments_symbol_key"),
        sa.CheckConstraint("symbol ~ '^[A-Z][A-Z0-9.]{0,9}$'", name=op.f("instruments_symbol_check")),
    )
    op.create_table(
        "candles",
        sa.Column("instrument_id", sa.Integer, nullable=False),
        sa.Column("date", sa.Date, nullable=False),
        sa.Column("open", sa.Numeric, nullable=False),
        sa.Column("high", sa.Numeric, nullable=False),
        sa.Column("low", sa.Numeric, nullable=False),
        sa.Column("close", sa.Numeric, nullable=False),
        sa.Column("volume", sa.BigInteger, nullable=False),
        sa.Column("adjusted_close", sa.Numeric, nullable=False),
        sa.PrimaryKeyConstraint("instrument_id", "date", name="candles_pkey"),
        sa.ForeignKeyConstraint(["instrument_id"], ["instruments.id"], name="candles_instrument_id_fkey"),
        sa.CheckConstraint(
            "low > 0 AND low <= least(open, close) AND high >= greatest(open, close) AND high < 1e14",
            name=op.f("candles_range_check"),
        ),
        sa.CheckConstraint(
            "scale(open) <= 4 AND scale(high) <= 4 AND scale(low) <= 4 AND scale(close) <= 4",
            name=op.f("candles_scale_check"),
        ),
        sa.CheckConstraint(
            "adjusted_close > 0 AND adjusted_close < 1e14", name=op.f("candles_adjusted_close_check")
        ),
        sa.CheckConstraint("volume >= 0", name=op.f("candles_volume_check")),
    )


def downgrade() -> None:
    op.drop_table("candles")
    op.drop_table("instruments")
